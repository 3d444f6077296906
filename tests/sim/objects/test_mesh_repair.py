"""Reading mesh files in process: hostile ones end in a MeshError that says why, repairable ones come out whole."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sinew_policies.common.errors import MeshError
from sinew_sim.objects import mesh_repair
from sinew_sim.objects.export import obj_text
from sinew_sim.objects.generator import generate
from sinew_sim.objects.mesh_repair import VISUAL_FACES, read_mesh


def _box(scale: float = 1.0) -> trimesh.Trimesh:
    return trimesh.creation.box((0.04 * scale, 0.05 * scale, 0.08 * scale))


def _stl(scale: float = 1.0) -> bytes:
    return bytes(trimesh.exchange.stl.export_stl(_box(scale)))


def _promising_ply() -> bytes:
    head = "ply\nformat binary_little_endian 1.0\nelement vertex 2000000000\n"
    return (head + "property double x\nproperty double y\nproperty double z\nend_header\n").encode()


def _nan_obj() -> bytes:
    lines = obj_text(generate(3, 0, "box", split="test")).splitlines()
    return "\n".join([*lines[:2], "v nan nan nan", *lines[3:]]).encode()


def _sheet_obj() -> bytes:
    corners = "v 0 0 0\nv 0.1 0 0\nv 0.1 0.1 0\nv 0 0.1 0\nv 0.05 0.05 0\n"
    return (corners + "f 1 2 5\nf 2 3 5\nf 3 4 5\nf 4 1 5\n").encode()


def _points_ply() -> bytes:
    return bytes(trimesh.PointCloud(_box().vertices).export(file_type="ply"))


def _truncated_glb() -> bytes:
    return bytes(trimesh.Scene(_box()).export(file_type="glb")[:300])


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.obj": (lambda: b"", "empty"),
    "letter.obj": (lambda: b"Dear robot,\nthis is a letter.\n", "no triangles"),
    "nan.obj": (_nan_obj, "not finite"),
    "index.obj": (
        lambda: b"v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nf 1 2 900\n",
        "not a readable|refer to",
    ),
    "sheet.obj": (_sheet_obj, "sheet"),
    "one_triangle.obj": (lambda: b"v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nf 1 2 3\n", "proper triangles"),
    "points.ply": (_points_ply, "no triangles"),
    "noise.ply": (lambda: np.random.default_rng(0).bytes(5000), "not a readable PLY"),
    "promise.ply": (_promising_ply, "not a readable PLY|memory"),
    "half.stl": (lambda: _stl()[:300], "no triangles|not a readable STL"),
    "promise.stl": (
        lambda: b"\0" * 80 + struct.pack("<I", 0xFFFFFFFF) + _stl()[84:],
        "triangles|not a readable",
    ),
    "millimetres.stl": (lambda: _stl(1000.0), "looks like millimetres"),
    "kilometres.stl": (lambda: _stl(0.01), "too small"),
    "half.glb": (_truncated_glb, "not a readable GLB"),
    "noise.glb": (lambda: np.random.default_rng(1).bytes(5000), "not a readable GLB"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    content, reason = HOSTILE[name]
    (tmp_path / name).write_bytes(content())
    with pytest.raises(MeshError, match=reason) as caught:
        read_mesh(tmp_path / name)
    assert len(str(caught.value)) < 250


def test_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_repair, "LARGEST_FILE_MB", 0.001)
    (tmp_path / "big.obj").write_bytes(b"v 0 0 0\n" * 1000)
    with pytest.raises(MeshError, match="at most"):
        read_mesh(tmp_path / "big.obj")


def _holed() -> trimesh.Trimesh:
    mesh = _box()
    mesh.update_faces(np.arange(len(mesh.faces)) != 3)
    return mesh


def _half_flipped() -> trimesh.Trimesh:
    mesh = _box()
    faces = mesh.faces.copy()
    faces[::2] = faces[::2, ::-1]
    return trimesh.Trimesh(mesh.vertices, faces, process=False)


def _soup() -> trimesh.Trimesh:
    mesh = _box()
    return trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3), process=False)


@pytest.mark.parametrize(
    ("mesh", "warning"), [(_holed, "filled holes"), (_half_flipped, "same way"), (_soup, None)], ids=str
)
def test_repairable_file_comes_out_whole(
    mesh: Callable[[], trimesh.Trimesh], warning: str | None, tmp_path: Path
) -> None:
    mesh().export(tmp_path / "mesh.obj")
    clean = read_mesh(tmp_path / "mesh.obj")
    solid = trimesh.Trimesh(clean.vertices, clean.faces, process=False)
    assert clean.watertight
    assert solid.volume == pytest.approx(0.04 * 0.05 * 0.08, rel=1e-4)
    assert (warning is None and clean.warnings == ()) or warning in "; ".join(clean.warnings)


def test_inside_out_mesh_is_turned(tmp_path: Path) -> None:
    mesh = _box()
    mesh.invert()
    mesh.export(tmp_path / "mesh.obj")
    clean = read_mesh(tmp_path / "mesh.obj")
    assert trimesh.Trimesh(clean.vertices, clean.faces, process=False).volume > 0


def test_fine_mesh_is_thinned_without_changing_its_size(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.03)
    ball.export(tmp_path / "ball.ply")
    clean = read_mesh(tmp_path / "ball.ply")
    assert len(clean.faces) <= VISUAL_FACES * 1.05
    assert np.ptp(clean.vertices, axis=0) == pytest.approx([0.06] * 3, rel=0.02)
