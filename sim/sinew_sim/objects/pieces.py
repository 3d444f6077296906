"""The cache file of one decomposed mesh: its surface, its convex pieces and what had to be repaired."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from sinew_policies.common.types import F64, I32
from sinew_sim.objects.convex import Hull

SETTINGS = "coacd 0.05/24 pre 30 mcts 60 faces 500 v3"
"""Part of the cache key: change it with any setting or rule of the reading and the decomposition."""


@dataclass(frozen=True, eq=False)
class Pieces:
    vertices: F64  # (V, 3) metres, z up, in the file's own frame
    faces: I32  # (F, 3)
    hulls: tuple[Hull, ...]
    warnings: tuple[str, ...]


def save(path: Path, pieces: Pieces) -> None:
    """Atomic: a reader sees the whole file or none."""
    arrays: dict[str, Any] = {"vertices": pieces.vertices, "faces": pieces.faces}
    for i, (v, f) in enumerate(pieces.hulls):
        arrays[f"hull{i}_vertices"], arrays[f"hull{i}_faces"] = v, f
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, warnings=np.array(pieces.warnings, dtype=np.str_), **arrays)
    part.replace(path)


def load(path: Path) -> Pieces | None:
    """None when the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as z:
            count = sum(name.startswith("hull") and name.endswith("_vertices") for name in z.files)
            hulls = tuple((z[f"hull{i}_vertices"], z[f"hull{i}_faces"]) for i in range(count))
            pieces = Pieces(z["vertices"], z["faces"], hulls, tuple(str(w) for w in z["warnings"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return pieces if hulls else None
