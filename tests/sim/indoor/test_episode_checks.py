"""Well-formed episodes that cannot be evaluated are found by name, in one file or in a whole split."""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from indoor_fakes.episodes import LEVEL, chair_episodes
from indoor_fakes.grid import mesh_of

from sinew_policies.common.errors import ConfigError, DataError
from sinew_sim.indoor.episode_checks import find_problems, require_sound
from sinew_sim.indoor.episode_split import load_split, scene_files, write_split
from sinew_sim.indoor.episode_writer import write_episodes
from sinew_sim.indoor.episodes import Episode, EpisodeFile, Task
from sinew_sim.indoor.navmesh import NavMesh
from sinew_sim.indoor.navmesh_build import build_navmesh


def _with(file: EpisodeFile, **changes: object) -> EpisodeFile:
    return replace(file, episodes=(replace(file.episodes[0], **changes), *file.episodes[1:]))  # type: ignore[arg-type]


def test_sound_episodes_have_no_problem() -> None:
    assert find_problems(chair_episodes()) == ()
    require_sound(chair_episodes())


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"geodesic_distance_m": math.inf}, "unreachable_goal", "no way leads to its goal"),
        ({"geodesic_distance_m": -1.0}, "negative_length", "-1 m"),
        ({"geodesic_distance_m": 0.0}, "zero_length", "starts at its goal (shortest way 0.0000 m)"),
        ({"start_position": (3.5, 0.0, 0.5)}, "zero_length", "SPL is undefined"),
        ({"object_category": "sofa"}, "no_goal", "under 'TEEsavR23oF.basis.glb_sofa'; did you mean"),
        ({"object_category": None}, "no_goal", "has no object_category"),
        ({"episode_id": "1"}, "duplicate_id", "2 episodes of this scene have the id 1"),
    ],
)
def test_a_useless_episode_is_named(changes: dict[str, object], reason: str, words: str) -> None:
    file = _with(chair_episodes(), **changes)
    problem = find_problems(file)[0]
    assert problem.reason == reason
    assert words in problem.message
    with pytest.raises(DataError) as fault:
        require_sound(file)
    assert "of 2 episodes cannot be evaluated" in str(fault.value)
    assert words in str(fault.value)


def test_goals_without_view_points_cannot_be_reached() -> None:
    file = chair_episodes()
    (key, goals), *_ = file.goals.items()
    blind = replace(file, goals={key: tuple(replace(g, view_points=()) for g in goals)})
    assert [p.reason for p in find_problems(blind)] == ["no_goal", "no_goal"]


def test_the_mesh_tells_what_the_file_hides() -> None:
    free = np.ones((1, 5), bool)
    file = chair_episodes()
    assert find_problems(file, NavMesh(build_navmesh(*mesh_of(free)))) == ()
    free[0, 2] = False
    parted = NavMesh(build_navmesh(*mesh_of(free)))
    problems = find_problems(file, parted)
    assert [p.reason for p in problems] == ["unreachable_goal", "unreachable_goal"]
    assert "any of its 2 targets" in problems[0].message
    off = _with(file, start_position=(0.5, 3.0, 0.5))
    assert find_problems(off, parted)[0].reason == "start_off_mesh"


def test_a_split_reads_its_content_files_and_numbers_them_anew(tmp_path: Path) -> None:
    first = replace(
        chair_episodes(),
        episodes=tuple(replace(e, episode_id=f"{e.episode_id}9") for e in chair_episodes().episodes),
    )
    second = _in_scene(chair_episodes(), "XYZ")
    split = tmp_path / "val/val.json.gz"
    write_split(split, [first, second])
    assert sorted(p.name for p in tmp_path.rglob("*.gz")) == ["TEEsavR23oF.json.gz", "XYZ.json.gz", "val.json.gz"]
    files = list(load_split(split))
    assert [[e.episode_id for e in f.episodes] for f in files] == [["0", "1"], ["0", "1"]]
    assert files[0].goals == first.goals
    assert [f.episodes[0].scene_name for f in load_split(split, scenes=["XYZ"])] == ["XYZ"]
    with pytest.raises(ConfigError, match="has no scene 'XYY'; did you mean 'XYZ'"):
        list(load_split(split, scenes=["XYY"]))


def _in_scene(file: EpisodeFile, name: str) -> EpisodeFile:
    episodes = tuple(replace(e, scene_id=f"hm3d/val/00801-{name}/{name}.basis.glb") for e in file.episodes)
    return replace(file, episodes=episodes, goals={f"{name}.basis.glb_chair": g for g in file.goals.values()})


def test_a_split_in_one_file_is_read_from_it(tmp_path: Path) -> None:
    split = tmp_path / "val.json.gz"
    write_episodes(chair_episodes(), split)
    assert scene_files(split) == {}
    assert [len(f.episodes) for f in load_split(split, scenes=["TEEsavR23oF"])] == [2]


def test_bare_splits_leave_the_task_to_their_content(tmp_path: Path) -> None:
    split = tmp_path / "val.json.gz"
    write_split(split, [chair_episodes()])
    write_episodes(EpisodeFile(Task.POINT, ()), split)
    assert [f.task for f in load_split(split)] == [Task.OBJECT]


def test_useless_episodes_are_refused_or_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    split = tmp_path / "val.json.gz"
    write_split(split, [_with(chair_episodes(), geodesic_distance_m=math.inf)])
    with pytest.raises(DataError, match=r"TEEsavR23oF\.json\.gz: 1 of 2 episodes cannot be evaluated"):
        list(load_split(split))
    with caplog.at_level(logging.WARNING, "sinew.indoor"):
        files = list(load_split(split, on_problem="skip"))
    assert [e.episode_id for e in files[0].episodes] == ["1"]
    assert "episode 0 left out: geodesic_distance is inf" in caplog.text


def test_an_empty_split_without_content_is_refused(tmp_path: Path) -> None:
    split = tmp_path / "val.json.gz"
    write_episodes(replace(chair_episodes(), episodes=()), split)
    with pytest.raises(DataError, match="no episodes and no content folder"):
        list(load_split(split))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/{scene}.json",
        "{data_path}/../{scene}.json",
        "{data_path}/content/all.json",
        "{data_path}{scene}",
        "x\0",
    ],
)
def test_content_cannot_lie_outside_the_split(tmp_path: Path, path: str) -> None:
    split = tmp_path / "val.json"
    split.write_text(json.dumps({"episodes": [], "content_scenes_path": path}))
    with pytest.raises(DataError, match="below the split's own folder"):
        list(load_split(split))


def test_files_of_several_scenes_are_no_content(tmp_path: Path) -> None:
    mixed = replace(
        chair_episodes(), episodes=(*chair_episodes().episodes, Episode("9", "b/b.glb", (0, 0, 0), LEVEL))
    )
    with pytest.raises(DataError, match=r"holds the scenes \['TEEsavR23oF', 'b'\]"):
        write_split(tmp_path / "val.json.gz", [mixed])
