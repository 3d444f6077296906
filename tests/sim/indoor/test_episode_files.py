"""Episode files come back as they were written, and damaged ones say what is wrong with them."""

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indoor_fakes.episodes import LEVEL, SCENE, chair_episodes, episode_files

from sinew_policies.common.errors import DataError, SinewError
from sinew_sim.indoor.episode_reader import read_episodes
from sinew_sim.indoor.episode_writer import write_episodes
from sinew_sim.indoor.episodes import Attributes, Episode, EpisodeFile, PointGoal, Task


@given(file=episode_files(), packed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_reading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, file: EpisodeFile, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / ("episodes.json.gz" if packed else "episodes.json")
    write_episodes(file, path)
    assert read_episodes(path, task=file.task) == file
    first = path.read_bytes()
    write_episodes(file, path)
    assert path.read_bytes() == first


# As Habitat's data sets spell their files; the field names are the format, not ours.
HABITAT_OBJECT = {
    "category_to_task_category_id": {"chair": 0},
    "category_to_mp3d_category_id": {"chair": 3},
    "episodes": [
        {
            "episode_id": 5,
            "scene_id": SCENE,
            "scene_dataset_config": "./data/hm3d.scene_dataset_config.json",
            "additional_obj_config_paths": [],
            "start_position": [1, 0.1, -2.5],
            "start_rotation": [0, 0, 0, 1],
            "info": {"geodesic_distance": 4.5, "euclidean_distance": 3.9, "closest_goal_object_id": 7},
            "goals": [],
            "start_room": None,
            "shortest_paths": None,
            "object_category": "chair",
        }
    ],
    "goals_by_category": {
        "TEEsavR23oF.basis.glb_chair": [
            {
                "position": [1, 2, 3],
                "radius": None,
                "object_id": 7,
                "object_name": "chair_7",
                "object_name_id": None,
                "object_category": "chair",
                "room_id": None,
                "room_name": None,
                "view_points": [{"agent_state": {"position": [1, 0, 3.5], "rotation": [0, 1, 0, 0]}, "iou": 0.25}],
            }
        ]
    },
}


def _write(path: Path, content: object) -> Path:
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    return path


def test_an_object_file_of_habitat_is_understood(tmp_path: Path) -> None:
    file = read_episodes(_write(tmp_path / "a.json.gz", HABITAT_OBJECT))
    episode = file.episodes[0]
    assert file.task is Task.OBJECT
    assert (episode.episode_id, episode.geodesic_distance_m, episode.scene_name) == ("5", 4.5, "TEEsavR23oF")
    assert file.annotation_category_ids == {"chair": 3}
    assert file.goals_of(episode)[0].object_id == 7
    assert file.targets(episode).tolist() == [[1.0, 0.0, 3.5]]
    assert json.loads(episode.info_extra) == {"euclidean_distance": 3.9, "closest_goal_object_id": 7}


def test_goals_within_the_episodes_are_gathered_by_category(tmp_path: Path) -> None:
    content = json.loads(json.dumps(HABITAT_OBJECT))
    content["episodes"][0]["goals"] = content.pop("goals_by_category")["TEEsavR23oF.basis.glb_chair"]
    file = read_episodes(_write(tmp_path / "a.json.gz", content))
    assert list(file.goals) == ["TEEsavR23oF.basis.glb_chair"]


def test_a_text_instance_file_of_habitat_is_understood(tmp_path: Path) -> None:
    goal = dict(HABITAT_OBJECT["goals_by_category"]["TEEsavR23oF.basis.glb_chair"][0])  # type: ignore[index]
    goal["object_surface_area"] = 1.5
    goal["image_goals"] = [
        {
            "position": [0, 1, 0],
            "rotation": [0, 0, 0, 1],
            "hfov": 79,
            "image_dimensions": [480, 640],
            "frame_coverage": 0.2,
            "object_coverage": 0.9,
        }
    ]
    content = {
        "episodes": [
            {
                "episode_id": "0",
                "scene_id": SCENE,
                "start_position": [0, 0, 0],
                "start_rotation": [0, 0, 0, 1],
                "goal_object_id": "7",
                "goal_image_id": 3,
                "object_category": "chair",
                "goals": [],
            }
        ],
        "goals": {"TEEsavR23oF_7": goal},
    }
    image_file = read_episodes(_write(tmp_path / "a.json.gz", content))
    assert image_file.task is Task.INSTANCE_IMAGE
    image = image_file.goals_of(image_file.episodes[0])[0].image_goals[0]
    assert (image.height_px, image.width_px, image.hfov_deg) == (480, 640, 79.0)
    words = {"intrinsic_attributes": "a red chair.", "extrinsic_attributes": "by the window."}
    text_file = read_episodes(
        _write(tmp_path / "a.json.gz", {**content, "attribute_data": {"TEEsavR23oF_7": words}})
    )
    assert text_file.task is Task.INSTANCE_TEXT
    assert text_file.attributes_of(text_file.episodes[0]) == Attributes("a red chair.", "by the window.")


def test_point_episodes_hold_their_own_goals(tmp_path: Path) -> None:
    goal = PointGoal((1.0, 0.0, 2.0), 0.2)
    file = EpisodeFile(Task.POINT, (Episode("0", SCENE, (0.0, 0.0, 0.0), LEVEL, 2.2, point_goals=(goal,)),))
    write_episodes(file, tmp_path / "a.json.gz")
    assert read_episodes(tmp_path / "a.json.gz") == file
    assert file.targets(file.episodes[0]).tolist() == [[1.0, 0.0, 2.0]]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("start_position", [0, 0], ["episodes[0].start_position", "3 finite numbers"]),
        ("start_position", [0, float("nan"), 0], ["start_position", "nan", "3 finite numbers"]),
        ("start_position", "here", ["start_position", "'here'"]),
        ("start_rotation", [0, 0, 0, 2], ["start_rotation", "unit quaternion"]),
        ("scene_id", 5, ["scene_id", "is 5", "text"]),
        ("episode_id", None, ["episode_id", "None", "whole number"]),
        ("episode_id", True, ["episode_id", "True"]),
        ("info", [], ["info", "object with named fields"]),
        ("goal_image_id", 1.5, ["goal_image_id", "1.5", "whole number"]),
        ("object_category", {"a": 1}, ["object_category", "text"]),
    ],
)
def test_a_wrong_field_is_named_with_its_value(tmp_path: Path, place: str, value: object, words: list[str]) -> None:
    content = json.loads(json.dumps(HABITAT_OBJECT))
    content["episodes"][0][place] = value
    path = _write(tmp_path / "wrong.json.gz", content)
    with pytest.raises(DataError) as fault:
        read_episodes(path)
    for word in [str(path), *words]:
        assert word in str(fault.value)


def test_a_wrong_view_point_is_named_down_to_its_place(tmp_path: Path) -> None:
    content = json.loads(json.dumps(HABITAT_OBJECT))
    goals = content["goals_by_category"]["TEEsavR23oF.basis.glb_chair"]
    goals[0]["view_points"][0]["agent_state"]["position"] = [1, 2, "3"]
    with pytest.raises(DataError) as fault:
        read_episodes(_write(tmp_path / "wrong.json.gz", content))
    place = "goals_by_category['TEEsavR23oF.basis.glb_chair'][0].view_points[0].agent_state.position"
    assert place in str(fault.value)
    assert "'3'" in str(fault.value)


def test_a_missing_field_names_the_nearest(tmp_path: Path) -> None:
    content = json.loads(json.dumps(HABITAT_OBJECT))
    content["episodes"][0]["scene_idd"] = content["episodes"][0].pop("scene_id")
    with pytest.raises(DataError, match="no field 'scene_id'; did you mean 'scene_idd'"):
        read_episodes(_write(tmp_path / "wrong.json.gz", content))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not JSON"),
        (b"[1, 2]", "the whole file is [1, 2]; expected an object"),
        (b'{"episodes": {}}', "episodes is an object of 0; expected a list"),
        (b'{"episodes": [', "is not JSON"),
        (b'{"episodes": "\xff"}', "is not UTF-8 text: byte 14 is 0xff"),
        (b"[" * 200_000, "nests JSON too deeply"),
        (b'{"episodes": [' + b"9" * 5000 + b"]}", "is not JSON"),
        (gzip.compress(b'{"episodes": []}')[:-6], "cut short as gzip"),
        (b"\x1f\x8b" + b"nonsense", "as gzip"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "episodes.json"
    path.write_bytes(data)
    with pytest.raises(DataError) as fault:
        read_episodes(path)
    assert words in str(fault.value)
    assert str(path) in str(fault.value)


def test_a_gzip_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(b" " * (1 << 24), compresslevel=9))
    assert bomb.stat().st_size < 1 << 16
    with pytest.raises(DataError, match="holds more than 1048576 bytes once unpacked"):
        read_episodes(bomb, max_bytes=1 << 20)


def test_a_file_of_countless_empty_lists_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_bytes(b'{"episodes": [' + b"[]," * 10_000 + b"[]]}")
    with pytest.raises(DataError, match="holds up to 20004 JSON values"):
        read_episodes(path, max_values=20_000)


def test_a_missing_file_points_to_the_page(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist; docs/indoor_data.md"):
        read_episodes(tmp_path / "none.json.gz")


def test_names_from_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"episodes": [{"episode_id": "\\u001b[2J\\ud800", "scene_id": 1}]}')
    with pytest.raises(DataError) as fault:
        read_episodes(path)
    assert "\x1b" not in str(fault.value)


def test_nan_is_not_written_and_nothing_is_left_behind(tmp_path: Path) -> None:
    file = chair_episodes()
    broken = replace(file, episodes=(replace(file.episodes[0], start_position=(0.0, float("nan"), 0.0)),))
    with pytest.raises(DataError, match="episode 0: start_position is nan"):
        write_episodes(broken, tmp_path / "a.json.gz")
    assert list(tmp_path.iterdir()) == []


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_mutated_files_end_in_our_errors_only(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(json.dumps(HABITAT_OBJECT).encode())
    if rng.random() < 0.3:
        data = bytearray(gzip.compress(bytes(data)))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randint(1, 9)]
            case 2:
                data[at:at] = rng.choice([b"null", b"1e999", b"NaN", b"{", b"]", b'"', b"-1", b"\\ud800"])
            case _:
                data[at : at + 1] = b"[]"
    path = tmp_path_factory.getbasetemp() / "mutated.json"
    path.write_bytes(bytes(data))
    message = ""
    try:
        file = read_episodes(path)
        for episode in file.episodes:
            file.targets(episode)
    except SinewError as error:
        message = str(error)
    assert message.isprintable()
