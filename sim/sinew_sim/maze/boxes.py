"""Rays against axis-aligned boxes in the plane: what a camera sees and where a body is stopped."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.jit import kernel
from sinew_policies.common.types import F64

_TINY = 1e-12


@dataclass(frozen=True)
class Hits:
    distance: F64  # (N, R) along each ray, infinite where nothing is hit
    box: NDArray[np.int64]  # (N, R) index of the nearest box
    along_x: NDArray[np.bool_]  # (N, R) whether the face that was hit is crossed in x


def cast(origins: F64, directions: F64, boxes: F64) -> Hits:
    """Nearest hits of rays from `origins` (N, 2) in `directions` (N, R, 2) with `boxes` (N, B, 4).

    A box is (x low, z low, x high, z high). A ray that starts inside a box does not hit it.
    """
    return Hits(
        *_cast(np.ascontiguousarray(origins), np.ascontiguousarray(directions), np.ascontiguousarray(boxes))
    )


def inside(points: F64, boxes: F64) -> NDArray[np.bool_]:
    """Whether `points` (..., 2) lie in the interior of any of `boxes` (B, 4)."""
    p = points[..., None, :]
    return np.asarray(((p > boxes[:, :2]) & (p < boxes[:, 2:])).all(-1).any(-1))


def inflated(boxes: F64, margin: float) -> F64:
    """`boxes` (..., 4) grown by `margin` on each side."""
    return boxes + margin * np.array([-1.0, -1.0, 1.0, 1.0])


@kernel
def _cast(
    origins: F64, directions: F64, boxes: F64
) -> tuple[F64, NDArray[np.int64], NDArray[np.bool_]]:  # slab test of every ray with every box
    n, r = directions.shape[:2]
    distance = np.full((n, r), np.inf)
    nearest = np.zeros((n, r), np.int64)
    along_x = np.zeros((n, r), np.bool_)
    for i in range(n):
        for j in range(r):
            dx, dz = directions[i, j, 0], directions[i, j, 1]
            dx = dx if abs(dx) > _TINY else _TINY
            dz = dz if abs(dz) > _TINY else _TINY
            for b in range(boxes.shape[1]):
                x0, x1 = (boxes[i, b, 0] - origins[i, 0]) / dx, (boxes[i, b, 2] - origins[i, 0]) / dx
                z0, z1 = (boxes[i, b, 1] - origins[i, 1]) / dz, (boxes[i, b, 3] - origins[i, 1]) / dz
                enter_x, enter_z = min(x0, x1), min(z0, z1)
                enter = max(enter_x, enter_z)
                if 0.0 <= enter < distance[i, j] and enter <= min(max(x0, x1), max(z0, z1)):
                    distance[i, j], nearest[i, j], along_x[i, j] = enter, b, enter_x >= enter_z
    return distance, nearest, along_x
