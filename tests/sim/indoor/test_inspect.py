"""`sinew inspect`: counts of what is sound, exit status 2 and the reason for what is not."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from indoor_fakes.episodes import chair_episodes
from indoor_fakes.grid import mesh_of

from sinew_policies.common.cli import main
from sinew_sim.indoor.episode_split import write_split
from sinew_sim.indoor.episode_writer import write_episodes
from sinew_sim.indoor.navmesh_build import build_navmesh
from sinew_sim.indoor.navmesh_file import write_navmesh
from sinew_sim.indoor.scene_dataset import SceneDatasetConfig, write_config
from sinew_sim.indoor.semantic_txt import Instance, SemanticScene, write_semantic


def _inspect(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    status = main(["inspect", *map(str, words)])
    return status, " ".join(capsys.readouterr().out.split())


def test_sound_files_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_episodes(chair_episodes(), tmp_path / "a.json.gz")
    write_navmesh(build_navmesh(*mesh_of(np.ones((1, 5), bool))), tmp_path / "a.basis.navmesh")
    write_semantic(SemanticScene((Instance(1, (1, 2, 3), "chair", 0),)), tmp_path / "a.semantic.txt")
    write_config(SceneDatasetConfig(), tmp_path / "a.scene_dataset_config.json")
    status, out = _inspect(capsys, *sorted(tmp_path.iterdir()))
    assert status == 0
    for words in (
        "task object episodes 2",
        "scenes 1: TEEsavR23oF 2",
        "goals 1 under 1 keys, 2 view points",
        "polygons 5 walkable of 5",
        "area 5.00 m2",
        "instances 1 categories 1: chair 1",
        "up [0.0, 0.0, 1.0], front [0.0, 1.0, 0.0]",
    ):
        assert words in out
    assert out.split().count("sound") == 4


def test_episodes_are_checked_on_the_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_episodes(chair_episodes(), tmp_path / "a.json.gz")
    free = np.ones((1, 5), bool)
    free[0, 2] = False
    write_navmesh(build_navmesh(*mesh_of(free)), tmp_path / "a.navmesh")
    status, out = _inspect(capsys, tmp_path / "a.json.gz", "--navmesh", tmp_path / "a.navmesh")
    assert status == 2
    assert "2 of 2 episodes: unreachable goal" in out


def test_useless_episodes_and_damage_give_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = chair_episodes()
    far = replace(file, episodes=(replace(file.episodes[0], geodesic_distance_m=math.inf),))
    write_episodes(far, tmp_path / "far.json.gz")
    (tmp_path / "cut.navmesh").write_bytes(b"TESM\x02")
    status, out = _inspect(capsys, tmp_path / "far.json.gz", tmp_path / "cut.navmesh")
    assert status == 2
    assert "1 of 1 episodes: unreachable goal" in out
    assert "cut.navmesh: damaged or unreadable" in out


def test_a_split_counts_its_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_split(tmp_path / "val.json.gz", [chair_episodes()])
    status, out = _inspect(capsys, tmp_path / "val.json.gz")
    assert status == 0
    assert "1 scene files: TEEsavR23oF" in out
    (tmp_path / "content/TEEsavR23oF.json.gz").unlink()
    assert _inspect(capsys, tmp_path / "val.json.gz")[0] == 2


@pytest.mark.parametrize(
    ("name", "words"), [("x.glb", "of no known kind"), ("", "is a folder"), ("x.navmesh", "does not exist")]
)
def test_other_paths_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    status, out = _inspect(capsys, tmp_path / name)
    assert status == 2
    assert words in out


def test_a_pipe_does_not_keep_the_reader_waiting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "x.json")
    status, out = _inspect(capsys, tmp_path / "x.json")
    assert status == 2
    assert "is a folder or a device" in out


def test_names_in_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"episodes": [], "\x1b[2J\ud800[red]": 1}
    (tmp_path / "a.json").write_text(json.dumps(content))
    status, out = _inspect(capsys, tmp_path / "a.json")
    assert status == 2
    assert "[red]" in out
    assert "\x1b" not in out
