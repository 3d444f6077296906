from pathlib import Path

import numpy as np
import pytest
import trimesh

from sinew_sim.objects import export
from sinew_sim.objects.generator import generate


def test_files_hold_the_generated_surfaces(tmp_path: Path) -> None:
    assert export.main(["--out", str(tmp_path / "new"), "--count", "12", "--seed", "4"]) == 0
    files = sorted((tmp_path / "new").glob("*.obj"))
    assert len(files) == 12
    for i in range(12):
        obj = generate(4, i, split="test")
        mesh = trimesh.load_mesh(tmp_path / "new" / f"{obj.name}.obj")
        assert mesh.is_watertight
        assert mesh.extents == pytest.approx(obj.extents_m, abs=2e-6)


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        export.export(tmp_path / folder, 3, 9)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_one_family(tmp_path: Path) -> None:
    paths = export.export(tmp_path, 3, 9, family="mug")
    assert [p.name for p in paths] == [f"test_mug_9_{i}.obj" for i in range(3)]
    assert np.all([p.stat().st_size > 1000 for p in paths])


def test_zero_objects_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export.main(["--out", str(tmp_path), "--count", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_unwritable_place_is_an_error_not_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert export.main(["--out", str(tmp_path / "file" / "in"), "--count", "1"]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_held_out_family_not_exported_for_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--out", str(tmp_path), "--count", "1", "--split", "train", "--family", "mug"]
    assert export.main(argv) == 2
    assert "held out" in capsys.readouterr().err
