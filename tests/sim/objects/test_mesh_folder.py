"""Folders of meshes: what is good loads, what is broken is repaired or named; nothing crashes or hangs."""

import logging
import struct
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
    box = _box()
    holed = box.copy()
    holed.update_faces(np.arange(len(holed.faces)) != 3)
    holed.export(folder / "repair_hole.obj")
    flipped = box.copy()
    flipped.faces[::2] = flipped.faces[::2, ::-1]
    flipped.export(folder / "repair_winding.obj")
    whole = trimesh.exchange.stl.export_stl(box)
    (folder / "bad_truncated.stl").write_bytes(whole[: len(whole) // 2])
    (folder / "bad_truncated.glb").write_bytes(trimesh.Scene(box).export(file_type="glb")[:300])
    # An STL that promises four billion triangles.
    (folder / "bad_promise.stl").write_bytes(b"\0" * 80 + struct.pack("<I", 0xFFFFFFFF) + whole[84:])
    ply = "ply\nformat binary_little_endian 1.0\nelement vertex 2000000000\nproperty double x\nproperty double y\n"
    (folder / "bad_promise.ply").write_text(ply + "property double z\nend_header\n")
    (folder / "bad_empty.obj").write_bytes(b"")
    (folder / "bad_noise.ply").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "bad_text.obj").write_text("Dear robot,\nthis is a letter.\n")
    lines = obj_text(generate(3, 0, "box", split="test")).splitlines()
    (folder / "bad_nan.obj").write_text("\n".join([*lines[:2], "v nan nan nan", *lines[3:]]))
    (folder / "bad_index.obj").write_text("v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nf 1 2 900\nf 1 2 3\nf 2 3 1\nf 3 1 2\n")
    trimesh.PointCloud(box.vertices).export(folder / "bad_points.ply")
    millimetres = box.copy()
    millimetres.apply_scale(1000)
    millimetres.export(folder / "bad_millimetres.stl")
    tiny = box.copy()
    tiny.apply_scale(0.01)
    tiny.export(folder / "bad_tiny.stl")
    sheet = [[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0], [0.05, 0.05, 0]]
    trimesh.Trimesh(sheet, [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]).export(folder / "bad_sheet.obj")


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


def test_broken_files_are_skipped_and_named(broken: Loaded) -> None:
    objects, report = broken
    assert {o.name for o in objects} == {"repair_hole", "repair_winding"}
    reasons = dict(report.skipped)
    assert len(reasons) == 13
    assert "millimetres" in reasons["bad_millimetres.stl"]
    assert "too small" in reasons["bad_tiny.stl"]
    assert "empty" in reasons["bad_empty.obj"]
    assert "not finite" in reasons["bad_nan.obj"]
    assert "no triangles" in reasons["bad_points.ply"]
    assert "sheet" in reasons["bad_sheet.obj"]
    assert all(reason and len(reason) < 250 for reason in reasons.values())
    assert "13 skipped" in report.text()
    assert all(name in report.text() for name in reasons)


def test_repaired_files_are_whole_and_warned_about(broken: Loaded) -> None:
    objects, report = broken
    warnings = dict(report.warnings)
    assert "filled holes" in warnings["repair_hole.obj"]
    assert "same way" in warnings["repair_winding.obj"]
    for obj in objects:
        mesh = trimesh.Trimesh(obj.vertices, obj.faces, process=False)
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(0.04 * 0.05 * 0.08, rel=1e-3)


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
