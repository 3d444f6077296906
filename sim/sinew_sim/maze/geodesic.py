"""Shortest distances that a body can walk in a maze: Dijkstra on a grid with 16 neighbours.

Paths over 16 directions are at most 2.8 % longer than straight ones.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import distance_transform_edt
from scipy.sparse.csgraph import dijkstra

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64
from sinew_sim.maze.boxes import inflated, inside
from sinew_sim.maze.world import MazeWorld

SPACING_M = 0.1
# A move and the cells that it sweeps, which must be free as well.
_MOVES: tuple[tuple[tuple[int, int], tuple[tuple[int, int], ...]], ...] = (
    ((1, 0), ()),
    ((0, 1), ()),
    ((1, 1), ((1, 0), (0, 1))),
    ((1, -1), ((1, 0), (0, -1))),
    ((1, 2), ((0, 1), (1, 1))),
    ((1, -2), ((0, -1), (1, -1))),
    ((2, 1), ((1, 0), (1, 1))),
    ((2, -1), ((1, 0), (1, -1))),
)


class DistanceGrid:
    """The places of one world where a square body of half side `radius_m` fits."""

    def __init__(self, world: MazeWorld, radius_m: float) -> None:
        n = round(world.size_m / SPACING_M) + 1
        axis = np.arange(n) * SPACING_M
        nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)  # (n, n, 2) x, z
        self.free: NDArray[np.bool_] = ~inside(nodes, inflated(world.boxes, radius_m))  # (n, n)
        self._graph = _graph(self.free)
        self._gap, nearest = distance_transform_edt(~self.free, SPACING_M, return_indices=True)
        self._nearest = nearest  # (2, n, n) the free node next to each node

    def field(self, goal: F64) -> F64:
        """Metres (n, n) from every node to `goal` (2,), at its nearest free node; infinite where no way leads.

        Nodes inside obstacles carry on from their nearest free node, so that a field can be interpolated
        beside a wall. Raises DataError for a goal outside the world.
        """
        n = len(self.free)
        i, j = np.round(np.asarray(goal) / SPACING_M).astype(np.int64)
        if not (0 <= i < n and 0 <= j < n):
            raise DataError(f"goal {tuple(goal)} lies outside the maze of {(n - 1) * SPACING_M:.1f} m")
        i, j = self._nearest[:, i, j]
        reached = dijkstra(self._graph, directed=False, indices=np.array([i * n + j])).reshape(n, n)
        field: F64 = reached[self._nearest[0], self._nearest[1]] + self._gap
        return field


def interpolate(fields: F64, points: F64) -> F64:
    """Distances (N,) at `points` (N, 2) in their `fields` (N, n, n), bilinear; infinite where no way leads."""
    n = fields.shape[1]
    place = np.clip(points / SPACING_M, 0.0, n - 1.0 - 1e-9)
    low = place.astype(np.int64)
    u, v = (place - low).T
    rows, i, j = np.arange(len(points)), low[:, 0], low[:, 1]
    with np.errstate(invalid="ignore"):  # 0 * inf
        near_x = (1 - v) * fields[rows, i, j] + v * fields[rows, i, j + 1]
        far_x = (1 - v) * fields[rows, i + 1, j] + v * fields[rows, i + 1, j + 1]
        value: F64 = (1 - u) * near_x + u * far_x
    return np.where(np.isfinite(value), value, np.inf)


def _graph(free: NDArray[np.bool_]) -> sparse.csr_matrix:
    n = len(free)
    number = np.arange(n * n).reshape(n, n)
    rows, columns, lengths = [], [], []
    for (dx, dz), swept in _MOVES:
        x, z = slice(0, n - dx), slice(max(0, -dz), n - max(0, dz))
        ok = free[x, z] & _shifted(free, dx, dz, x, z)
        for sx, sz in swept:
            ok &= _shifted(free, sx, sz, x, z)
        rows.append(number[x, z][ok])
        columns.append(_shifted(number, dx, dz, x, z)[ok])
        lengths.append(np.full(int(ok.sum()), SPACING_M * np.hypot(dx, dz)))
    edges = (np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_matrix(edges, shape=(n * n, n * n))


def _shifted(array: np.ndarray, dx: int, dz: int, x: slice, z: slice) -> np.ndarray:
    return array[x.start + dx : x.stop + dx, z.start + dz : z.stop + dz]
