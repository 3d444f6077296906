"""The program on docs/indoor_data.md runs on a data set laid out as the page says."""

import re
from pathlib import Path

import numpy as np
import pytest
from indoor_fakes.episodes import chair_episodes
from indoor_fakes.grid import mesh_of

from sinew_sim.indoor.episode_split import write_split
from sinew_sim.indoor.navmesh_build import build_navmesh
from sinew_sim.indoor.navmesh_file import write_navmesh
from sinew_sim.indoor.scene_dataset import SceneDatasetConfig, write_config

PAGE = Path(__file__).parents[3] / "docs/indoor_data.md"


def test_the_program_on_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data/hm3d/val/00800-TEEsavR23oF"
    folder.mkdir(parents=True)
    (folder / "TEEsavR23oF.basis.glb").write_bytes(b"")
    write_navmesh(build_navmesh(*mesh_of(np.ones((1, 5), bool))), folder / "TEEsavR23oF.basis.navmesh")
    config = tmp_path / "data/hm3d/hm3d_annotated_basis.scene_dataset_config.json"
    write_config(SceneDatasetConfig({".glb": ("val/*/*.basis.glb",)}), config)
    write_split(tmp_path / "data/episodes/objectnav/val/val.json.gz", [chair_episodes()])
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program is not None
    monkeypatch.chdir(tmp_path)
    exec(program.group(1), {})
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["0 3.0", "1 2.0"]
    assert out[2].startswith("5.0 ")
