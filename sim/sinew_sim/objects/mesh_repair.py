"""Reads a mesh file and makes a closed, sensibly sized surface of it, or says why not.

Runs in the decomposition's child process: a hostile file may then cost no more than that process.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from sinew_policies.common.errors import MeshError
from sinew_policies.common.types import F64, I32

SHORTEST_M, LONGEST_M = 0.005, 0.5
LARGEST_FILE_MB = 200
LARGEST_FACES = 3_000_000
VISUAL_FACES = 2_000
THINNEST_M = 0.0005

# glTF is y-up by its specification; the other formats are taken as z-up.
_Z_UP_FROM_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, eq=False)
class CleanMesh:
    vertices: F64  # (V, 3) metres, z up
    faces: I32  # (F, 3) outward, at most VISUAL_FACES
    watertight: bool
    warnings: tuple[str, ...]


def read_mesh(path: Path) -> CleanMesh:
    """MeshError with the reason when the file cannot be used."""
    _check_size(path)
    mesh = _load(path)
    _check_values(mesh)
    mesh.merge_vertices()
    warnings = _repair(mesh)
    if len(mesh.faces) > VISUAL_FACES:
        mesh = simplified(mesh, VISUAL_FACES)
    return CleanMesh(
        np.asarray(mesh.vertices, np.float64),
        np.asarray(mesh.faces, np.int32),
        bool(mesh.is_watertight),
        tuple(warnings),
    )


def simplified(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """At most about `faces` triangles by quadric decimation; the mesh itself if that ruins it."""
    if len(mesh.faces) <= faces:
        return mesh
    fewer = mesh.simplify_quadric_decimation(face_count=faces)
    fewer.merge_vertices()
    fewer.update_faces(fewer.nondegenerate_faces())
    fewer.remove_unreferenced_vertices()
    spoiled = len(fewer.faces) < 4 or np.abs(fewer.extents - mesh.extents).max() > 0.1 * mesh.extents.max()
    return mesh if spoiled else fewer


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        raise MeshError("the file is empty")
    if size > LARGEST_FILE_MB * 1_000_000:
        raise MeshError(f"the file has {size / 1e6:.0f} MB; at most {LARGEST_FILE_MB} MB are read")


def _load(path: Path) -> trimesh.Trimesh:
    kind = path.suffix.lower().lstrip(".")
    options: dict[str, Any] = {"skip_materials": True} if kind == "obj" else {}
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)
    try:
        with path.open("rb") as file:
            scene = trimesh.load_scene(file, file_type=kind, allow_remote=False, process=False, **options)
        parts = [g for g in scene.dump() if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    except MemoryError as e:
        raise MeshError("the file asks for more memory than a mesh may take") from e
    except Exception as e:  # the readers raise whatever their parsing runs into
        raise MeshError(f"not a readable {kind.upper()} file ({type(e).__name__}: {_short(e)})") from e
    if not parts:
        raise MeshError("no triangles could be read; expected a surface mesh")
    vertices = np.concatenate([np.asarray(p.vertices, np.float64) for p in parts])
    start = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    faces = np.concatenate([np.asarray(p.faces, np.int64) + s for p, s in zip(parts, start, strict=True)])
    if kind == "glb":
        vertices = vertices @ _Z_UP_FROM_Y_UP.T
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise MeshError(f"triangles refer to vertex {faces.max()}, but there are {len(vertices)}")
    return trimesh.Trimesh(vertices, faces, process=False)


def _check_values(mesh: trimesh.Trimesh) -> None:
    used = np.asarray(mesh.vertices)[np.unique(mesh.faces)]
    bad = int((~np.isfinite(used)).any(axis=1).sum())
    if bad:
        raise MeshError(f"{bad} of {len(used)} vertices are not finite numbers")
    if len(mesh.faces) > LARGEST_FACES:
        raise MeshError(f"{len(mesh.faces)} triangles; at most {LARGEST_FACES} are read, simplify it first")
    extents = np.ptp(used, axis=0)
    longest = float(extents.max())
    if longest > LONGEST_M:
        guess = "looks like millimetres" if longest < 1000 * LONGEST_M else "not in metres"
        raise MeshError(f"longest side {longest:.4g}, expected {SHORTEST_M} to {LONGEST_M} m: {guess}")
    if longest < SHORTEST_M:
        raise MeshError(
            f"longest side {longest:.4g}, expected {SHORTEST_M} to {LONGEST_M} m: too small to be in metres"
        )


def _repair(mesh: trimesh.Trimesh) -> list[str]:
    """Merges, closes and orients in place; what had to be done, for the user."""
    warnings = []
    mesh.update_faces(mesh.nondegenerate_faces() & mesh.unique_faces())
    mesh.remove_unreferenced_vertices()
    if len(mesh.faces) < 4:
        raise MeshError(f"{len(mesh.faces)} proper triangles; a solid has at least 4")
    _check_solid(mesh)
    if not mesh.is_watertight:
        mesh.fill_holes()
        warnings.append("filled holes" if mesh.is_watertight else "is open; its hulls close it")
    if not mesh.is_winding_consistent:
        warnings.append("turned triangles to face the same way")
    trimesh.repair.fix_normals(mesh, multibody=True)  # type: ignore[no-untyped-call]
    if mesh.is_watertight and mesh.volume < 0.0:
        mesh.invert()
        warnings.append("turned inside out")
    return warnings


def _check_solid(mesh: trimesh.Trimesh) -> None:
    # The thinnest direction of the point set, whichever way the mesh lies.
    centred = np.asarray(mesh.vertices) - np.mean(mesh.vertices, axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    thinnest = float(np.ptp(centred @ axes, axis=0).min())
    if thinnest < THINNEST_M:
        raise MeshError(f"only {thinnest * 1e3:.2f} mm thick; expected a solid body, not a sheet")


def _short(e: Exception) -> str:
    text = " ".join(str(e).split())
    return text if len(text) <= 100 else text[:97] + "..."
