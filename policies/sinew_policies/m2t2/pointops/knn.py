"""Three nearest neighbours, exact: queries of one grid cell share one gathered list of candidates.

The 27 cells around a query's own hold its neighbours unless the third one lies farther than the faces of
that cube; only then a wider cube is searched.
"""

import numpy as np

from sinew_policies.common.jit import kernel
from sinew_policies.common.types import F32, I32
from sinew_policies.m2t2.pointops.grid import bin_points, by_cell

_SLACK = 1.0 - 1e-5  # a computed distance may round below the true one: stop only well inside the faces


def nearest_three(query: F32, ref: F32) -> tuple[F32, I32]:
    """Squared distances (Q, 3) ascending and indices (Q, 3) into ref (R, 3); the earliest index wins ties.

    With fewer than three reference points the free slots hold infinity and index 0.
    """
    return _nearest_three(query, ref)


@kernel
def _nearest_three(query, ref):  # type: ignore[no-untyped-def]
    n, m = query.shape[0], ref.shape[0]
    d2_out = np.full((n, 3), np.inf, np.float32)
    idx_out = np.zeros((n, 3), np.int32)
    origin, size, dims, start, order = _grid(ref)
    cells = start.shape[0] - 1

    # Queries by the cell they fall in; outside ones belong to the nearest cell.
    q_cell = np.empty(n, np.int32)
    for i in range(n):
        c = 0
        for a in range(3):
            c = c * dims[a] + _own_cell(query[i, a], origin[a], size, dims[a])
        q_cell[i] = c
    q_start, q_order = by_cell(q_cell, cells)

    x, y, z = np.empty(m, np.float32), np.empty(m, np.float32), np.empty(m, np.float32)
    ident = np.empty(m, np.int32)
    d2 = np.empty(m, np.float32)
    for c in range(cells):
        if q_start[c] == q_start[c + 1]:
            continue
        iz = c % dims[2]
        iy = (c // dims[2]) % dims[1]
        ix = c // (dims[1] * dims[2])
        ring = 1
        count = _gather(ref, dims, start, order, ix, iy, iz, ring, x, y, z, ident)
        open_from = q_start[c]
        open_to = q_start[c + 1]
        while open_from < open_to:
            # Queries whose answer is not certain yet are kept at the front for the next, wider ring.
            kept = open_from
            for s in range(open_from, open_to):
                i = q_order[s]
                px, py, pz = query[i, 0], query[i, 1], query[i, 2]
                _three_of(px, py, pz, x, y, z, ident, count, d2, d2_out, idx_out, i)
                face = min(
                    _face(px, origin[0], size, ix, ring, dims[0]),
                    _face(py, origin[1], size, iy, ring, dims[1]),
                    _face(pz, origin[2], size, iz, ring, dims[2]),
                )
                if face == np.inf or (face > 0.0 and d2_out[i, 2] < face * face * _SLACK):
                    continue
                q_order[kept] = i
                kept += 1
            open_to = kept
            if open_from < open_to:
                ring *= 2
                count = _gather(ref, dims, start, order, ix, iy, iz, ring, x, y, z, ident)
    return d2_out, idx_out


@kernel
def _grid(ref):  # type: ignore[no-untyped-def]
    """Bins the reference points at a few per occupied cell, assuming that they lie on surfaces."""
    n = ref.shape[0]
    ex = np.float64(ref[:, 0].max()) - np.float64(ref[:, 0].min())
    ey = np.float64(ref[:, 1].max()) - np.float64(ref[:, 1].min())
    ez = np.float64(ref[:, 2].max()) - np.float64(ref[:, 2].min())
    area = max(ex * ey, ey * ez, ex * ez)
    size = 2.0 * np.sqrt(area / n)
    if size <= 0.0:
        size = max(ex, ey, ez) / n + 1e-12  # points on a line, or all equal
    origin, size, dims, start, order = bin_points(ref, size)
    for _ in range(8):
        occupied = 0
        for c in range(start.shape[0] - 1):
            occupied += start[c] != start[c + 1]
        if n <= 8 * occupied:
            break
        before = start.shape[0]
        origin, size, dims, start, order = bin_points(ref, size * 0.5)
        if start.shape[0] <= before:
            break  # already as many cells as the grid may have
    return origin, size, dims, start, order


@kernel
def _own_cell(p, origin, size, dim):  # type: ignore[no-untyped-def]
    # Clamped as a float: a far-away query would overflow an integer.
    return np.int64(min(max((np.float64(p) - origin) / size, 0.0), dim - 1.0))


@kernel
def _face(p, origin, size, cell, ring, dim):  # type: ignore[no-untyped-def]
    """Distance to the nearer face of the searched cells along one axis; nothing lies beyond the grid."""
    face = np.inf
    if cell - ring > 0:
        face = np.float64(p) - (origin + (cell - ring) * size)
    if cell + ring < dim - 1:
        face = min(face, origin + (cell + ring + 1) * size - np.float64(p))
    return face


@kernel
def _gather(ref, dims, start, order, ix, iy, iz, ring, x, y, z, ident):  # type: ignore[no-untyped-def]
    count = 0
    z0, z1 = max(iz - ring, 0), min(iz + ring, dims[2] - 1)
    for jx in range(max(ix - ring, 0), min(ix + ring, dims[0] - 1) + 1):
        for jy in range(max(iy - ring, 0), min(iy + ring, dims[1] - 1) + 1):
            row = (jx * dims[1] + jy) * dims[2]
            for s in range(start[row + z0], start[row + z1 + 1]):
                i = order[s]
                x[count], y[count], z[count] = ref[i, 0], ref[i, 1], ref[i, 2]
                ident[count] = i
                count += 1
    return count


@kernel
def _three_of(px, py, pz, x, y, z, ident, count, d2, d2_out, idx_out, i):  # type: ignore[no-untyped-def]
    for s in range(count):
        dx, dy, dz = px - x[s], py - y[s], pz - z[s]
        d2[s] = (dx * dx + dy * dy) + dz * dz
    b0, b1, b2 = np.float32(np.inf), np.float32(np.inf), np.float32(np.inf)
    i0, i1, i2 = np.int32(0), np.int32(0), np.int32(0)
    for s in range(count):
        d = d2[s]
        if d > b2:
            continue
        j = ident[s]
        if d < b0 or (d == b0 and j < i0):
            b2, i2, b1, i1, b0, i0 = b1, i1, b0, i0, d, j
        elif d < b1 or (d == b1 and j < i1):
            b2, i2, b1, i1 = b1, i1, d, j
        elif d < b2 or (d == b2 and j < i2):
            b2, i2 = d, j
    d2_out[i, 0], d2_out[i, 1], d2_out[i, 2] = b0, b1, b2
    idx_out[i, 0], idx_out[i, 1], idx_out[i, 2] = i0, i1, i2
