"""Folders of meshes: what is good loads, what is broken is repaired or named; nothing crashes or hangs."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sinew_policies.common.errors import ConfigError, MeshError
from sinew_sim.objects import mesh_folder, pieces
from sinew_sim.objects.export import obj_text
from sinew_sim.objects.generator import generate
from sinew_sim.objects.mesh_folder import LoadReport, load_folder
from sinew_sim.objects.model import ObjectModel
from sinew_sim.scenes import SceneSpec, make_scene

Loaded = tuple[list[ObjectModel], LoadReport]


def _box() -> trimesh.Trimesh:
    return trimesh.creation.box((0.04, 0.05, 0.08))


def _good(folder: Path) -> None:
    _box().export(folder / "a_box.stl")
    _box().export(folder / "b_box.ply")
    (folder / "c_l.obj").write_text(obj_text(generate(3, 0, "l_extrusion", split="test")))
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((0.05, 0.02, 0.05)))
    lifted = trimesh.transformations.translation_matrix([0.0, 0.035, 0.0])
    scene.add_geometry(trimesh.creation.box((0.02, 0.05, 0.02)), transform=lifted)
    scene.export(folder / "d_two_parts.glb")
    (folder / "nested").mkdir()
    _box().export(folder / "nested" / "E_UPPER.STL")
    (folder / "notes.txt").write_text("not a mesh, not counted")


def _broken(folder: Path) -> None:
    holed = _box()
    holed.update_faces(np.arange(len(holed.faces)) != 3)
    holed.export(folder / "repair_hole.obj")
    whole = trimesh.exchange.stl.export_stl(_box())
    (folder / "bad_truncated.stl").write_bytes(whole[: len(whole) // 2])
    # Two patches without a rim in common: no hole can be filled, yet the pieces must be solid, not a shell.
    torn = trimesh.creation.icosphere(subdivisions=2, radius=0.03)
    torn.update_faces(np.abs(torn.triangles_center[:, 2]) > 0.004)
    torn.export(folder / "repair_torn.stl")
    millimetres = _box()
    millimetres.apply_scale(1000)
    millimetres.export(folder / "bad_millimetres.stl")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    _good(folder)
    return folder


@pytest.fixture(scope="module")
def good(good_folder: Path, cache: Path) -> Loaded:
    return load_folder(good_folder, cache)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Loaded:
    folder = tmp_path_factory.mktemp("broken")
    _broken(folder)
    return load_folder(folder, cache, timeout_s=30.0)


def test_all_formats_load_in_order_of_name(good: Loaded) -> None:
    objects, report = good
    assert [o.name for o in objects] == ["a_box", "b_box", "c_l", "d_two_parts", "nested_E_UPPER"]
    assert report.skipped == ()
    assert report.warnings == ()


def test_size_and_volume_are_kept(good: Loaded) -> None:
    for obj in (good[0][0], good[0][1], good[0][4]):
        assert np.sort(obj.extents_m) == pytest.approx([0.04, 0.05, 0.08], abs=1e-5)
    concave = good[0][2]
    mesh = trimesh.Trimesh(concave.vertices, concave.faces, process=False)
    assert len(concave.hulls) >= 2
    filled = sum(trimesh.Trimesh(v, f, process=False).volume for v, f in concave.hulls)
    assert filled == pytest.approx(mesh.volume, rel=0.1)


def test_glb_parts_are_merged_and_its_y_axis_stands_up(good: Loaded) -> None:
    """The plate carries the post: 5 cm wide and deep on the table, 5 cm of post above 2 cm of plate."""
    obj = good[0][3]
    assert obj.extents_m == pytest.approx([0.05, 0.05, 0.07], abs=1e-4)
    assert obj.standing_height_m < 0.035


def test_objects_make_a_scene(good: Loaded) -> None:
    scene = make_scene(SceneSpec("packed", 0, 4), good[0])
    assert scene.poses.shape == (4, 7)


def test_second_time_comes_from_the_cache(good: Loaded, good_folder: Path, cache: Path) -> None:
    objects, report = load_folder(good_folder, cache)
    assert report.cached == len(objects) == 5
    assert [o.content_hash() for o in objects] == [o.content_hash() for o in good[0]]


def test_damaged_cache_entry_is_made_anew(good: Loaded, good_folder: Path, tmp_path: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    (only / "a_box.stl").write_bytes((good_folder / "a_box.stl").read_bytes())
    store = tmp_path / "cache"
    load_folder(only, store)
    (entry,) = store.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    objects, report = load_folder(only, store)
    assert report.cached == 0
    assert objects[0].content_hash() == good[0][0].content_hash()


def test_broken_files_are_skipped_named_and_counted(broken: Loaded) -> None:
    objects, report = broken
    assert [o.name for o in objects] == ["repair_hole", "repair_torn"]
    reasons = dict(report.skipped)
    assert set(reasons) == {"bad_millimetres.stl", "bad_truncated.stl"}
    assert "millimetres" in reasons["bad_millimetres.stl"]
    assert "2 skipped" in report.text()
    assert all(name in report.text() for name in reasons)
    assert "filled holes" in dict(report.warnings)["repair_hole.obj"]


def test_torn_surface_becomes_a_solid(broken: Loaded) -> None:
    torn = broken[0][1]
    filled = sum(trimesh.Trimesh(v, f, process=False).volume for v, f in torn.hulls)
    assert filled == pytest.approx(4 / 3 * np.pi * 0.03**3, rel=0.25)


def test_only_broken_files_is_an_error_with_reasons(tmp_path: Path) -> None:
    (tmp_path / "x.obj").write_text("nothing")
    with pytest.raises(MeshError, match=r"(?s)none of the 1 meshes.*x\.obj"):
        load_folder(tmp_path, tmp_path / "cache")


def test_missing_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a directory"):
        load_folder(tmp_path / "nowhere", tmp_path)


def test_hull_stands_in_when_decomposition_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The child writes the repaired mesh first; here it then dies, as CoACD's aborts make it."""
    (tmp_path / "l.obj").write_text(obj_text(generate(3, 0, "l_extrusion", split="test")))

    def dies_after_repair(file: Path, target: Path, timeout_s: float) -> tuple[str, str]:
        v, f = _box().vertices, _box().faces.astype(np.int32)
        pieces.save(target.with_suffix(".clean.npz"), pieces.Pieces(v, f, ((v, f),), ()))
        return "", "failed (exit -6: abort)"

    monkeypatch.setattr(mesh_folder, "_run_child", dies_after_repair)
    with caplog.at_level(logging.WARNING, logger="sinew.objects"):
        objects, report = load_folder(tmp_path, tmp_path / "cache")
    assert len(objects[0].hulls) == 1
    assert "convex hull is used" in dict(report.warnings)["l.obj"]
    assert "exit -6" in caplog.text
    assert load_folder(tmp_path, tmp_path / "cache")[1].warnings == report.warnings


def test_hanging_file_costs_its_time_limit_only(tmp_path: Path) -> None:
    _box().export(tmp_path / "slow.stl")
    with pytest.raises(MeshError, match=r"took longer than 0\.05 s"):
        load_folder(tmp_path, tmp_path / "cache", timeout_s=0.05)


def test_parent_never_imports_coacd(good_folder: Path, good: Loaded, cache: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom sinew_sim.objects.mesh_folder import load_folder\n"
        f"load_folder(Path({str(good_folder)!r}), Path({str(cache)!r}))\nprint('coacd' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.slow
def test_sixty_new_meshes_within_twelve_minutes(tmp_path: Path) -> None:
    for i in range(60):
        obj = generate(21, i, split="test")
        (tmp_path / f"{i:02d}_{obj.family}.obj").write_text(obj_text(obj))
    objects, report = load_folder(tmp_path, tmp_path / "cache")
    assert len(objects) == 60
    assert report.warnings == ()
    assert report.seconds < 12 * 60
