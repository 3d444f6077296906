"""A uniform grid over points: cell start offsets and the points' indices sorted by cell (and by index)."""

import numpy as np

from sinew_policies.common.jit import kernel

_CELLS_PER_POINT = 8
_MIN_CELLS = 4096


@kernel
def bin_points(xyz, cell_m):  # type: ignore[no-untyped-def]
    """Bins finite xyz (N, 3).

    Returns origin (3,) float64, cell size, dims (3,) int64, start (cells + 1,) int32 and order (N,) int32:
    cell (ix, iy, iz) has number (ix·dims[1] + iy)·dims[2] + iz and holds order[start[cell]:start[cell + 1]],
    ascending. The cell size grows above `cell_m` where the grid would otherwise be much larger than the cloud.
    """
    n = xyz.shape[0]
    origin = np.empty(3, np.float64)
    extent = np.empty(3, np.float64)
    for a in range(3):
        lo, hi = xyz[0, a], xyz[0, a]
        for i in range(n):
            lo, hi = min(lo, xyz[i, a]), max(hi, xyz[i, a])
        origin[a] = lo
        extent[a] = np.float64(hi) - np.float64(lo)
    limit = max(_MIN_CELLS, _CELLS_PER_POINT * n)
    size = max(cell_m, extent.max() / 1e6, 1e-30)
    dims = np.empty(3, np.int64)
    while True:
        for a in range(3):
            dims[a] = np.int64(extent[a] / size) + 1
        if dims[0] * dims[1] * dims[2] <= limit:
            break
        size *= 1.26  # the cube root of two halves the count
    cell = np.empty(n, np.int32)
    for i in range(n):
        c = 0
        for a in range(3):
            c = c * dims[a] + min(np.int64((xyz[i, a] - origin[a]) / size), dims[a] - 1)
        cell[i] = c
    start, order = by_cell(cell, dims[0] * dims[1] * dims[2])
    return origin, size, dims, start, order


@kernel
def by_cell(cell, cells):  # type: ignore[no-untyped-def]
    """`start` (cells + 1,) and `order` (n,), int32: cell c holds order[start[c] : start[c + 1]], ascending."""
    n = cell.shape[0]
    start = np.zeros(cells + 1, np.int32)
    for i in range(n):
        start[cell[i] + 1] += 1
    for c in range(cells):
        start[c + 1] += start[c]
    order = np.empty(n, np.int32)
    cursor = start[:-1].copy()
    for i in range(n):
        order[cursor[cell[i]]] = i
        cursor[cell[i]] += 1
    return start, order


@kernel
def cell_range(p, reach, origin, size, dim):  # type: ignore[no-untyped-def]
    """First and last cell along one axis that [p - reach, p + reach] touches; empty where first > last."""
    lo = np.floor((np.float64(p) - reach - origin) / size)
    hi = np.floor((np.float64(p) + reach - origin) / size)
    # Compare as floats: a far-away centre would overflow an integer. The last cell owns its upper edge.
    if lo > dim or hi < 0.0:
        return np.int64(1), np.int64(0)
    return np.int64(min(max(lo, 0.0), dim - 1.0)), np.int64(min(max(hi, 0.0), dim - 1.0))
