"""Visual meshes cut to few triangles, kept on disk: software rendering costs vertices times passes."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sinew_policies.common.errors import MeshError, MissingExtra
from sinew_policies.common.types import F64, I32


@dataclass(frozen=True)
class Mesh:
    vertices: F64  # (V, 3) metres
    faces: I32  # (F, 3)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/sinew/meshes` or `~/.cache/sinew/meshes`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "sinew" / "meshes"


def decimated_mesh(path: Path, max_faces: int) -> Mesh:
    """The mesh of a file with at most about `max_faces` triangles; computed once per content and count."""
    if max_faces < 4:
        raise MeshError(f"max_faces is {max_faces}; a closed mesh needs at least 4")
    key = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    cached = cache_folder() / f"{path.stem}-{key}-{max_faces}.npz"
    try:
        with np.load(cached, allow_pickle=False) as data:
            return Mesh(data["vertices"], data["faces"])
    except (OSError, ValueError, KeyError):
        mesh = _decimate(path, max_faces)
        _store(cached, mesh)
        return mesh


def _decimate(path: Path, max_faces: int) -> Mesh:
    try:
        import trimesh
    except ImportError as exc:
        raise MissingExtra("trimesh", "sim") from exc
    raw = trimesh.load_mesh(path, process=False)
    if not isinstance(raw, trimesh.Trimesh):
        raise MeshError(f"{path} holds {type(raw).__name__}; expected one triangle mesh")
    # Texture seams split vertices; without merging by position the simplifier tears the surface there.
    mesh = trimesh.Trimesh(raw.vertices, raw.faces, process=True)
    mesh.merge_vertices(merge_tex=True, merge_norm=True, digits_vertex=6)
    if len(mesh.faces) > max_faces:
        mesh = mesh.simplify_quadric_decimation(face_count=max_faces)
    return Mesh(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32))


def _store(path: Path, mesh: Mesh) -> None:
    """Atomic, because several processes start at the same time; a read-only cache only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            np.savez(file, vertices=mesh.vertices, faces=mesh.faces)
        Path(file.name).replace(path)
    except OSError:
        return
