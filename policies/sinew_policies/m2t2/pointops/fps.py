"""Furthest point sampling by space-sorted blocks: the indices of the plain loop at 3 % of its work.

Points are sorted along a Morton curve and cut into blocks of 64. A block keeps its bounding box and the key
of its best point. When a point is picked, only blocks whose box is nearer to it than their own best distance
can change. Rounding is monotonic, so the box distance computed with the same float32 operations is never
above the computed distance of any point inside: skipping is exact, not approximate.
"""

import numpy as np

from sinew_policies.common.jit import kernel
from sinew_policies.common.types import F32, I32

BLOCK = 64
INITIAL_D2 = np.float32(1e10)
EXCLUDED_D2 = 1e-3
"""Points with squared norm at or below this (3.16 cm) are never chosen when the origin is excluded."""

_LOW = np.int64(0x7FFFFFFF)


def sample(xyz: F32, n: int, exclude_origin: bool) -> I32:
    """Indices (n,) of the furthest-point sample of finite xyz (N, 3), N >= 1, starting at index 0.

    Ties go to the lowest index; index 0 repeats when no point is eligible.
    """
    order = np.sort(_morton_keys(xyz, exclude_origin))  # curve position in the high, index in the low half
    return _sample_sorted(xyz, order, n)


@kernel
def _spread(v):  # type: ignore[no-untyped-def]
    """Spreads the low 10 bits of v so that two zero bits follow each."""
    v = (v | (v << 16)) & 0x030000FF
    v = (v | (v << 8)) & 0x0300F00F
    v = (v | (v << 4)) & 0x030C30C3
    return (v | (v << 2)) & 0x09249249


@kernel
def _morton_keys(xyz, exclude_origin):  # type: ignore[no-untyped-def]
    n = xyz.shape[0]
    lo_x, lo_y, lo_z = xyz[0, 0], xyz[0, 1], xyz[0, 2]
    hi_x, hi_y, hi_z = lo_x, lo_y, lo_z
    for i in range(n):
        lo_x, hi_x = min(lo_x, xyz[i, 0]), max(hi_x, xyz[i, 0])
        lo_y, hi_y = min(lo_y, xyz[i, 1]), max(hi_y, xyz[i, 1])
        lo_z, hi_z = min(lo_z, xyz[i, 2]), max(hi_z, xyz[i, 2])
    extent = max(np.float64(hi_x) - lo_x, np.float64(hi_y) - lo_y, np.float64(hi_z) - lo_z)
    scale = 1023.0 / extent if extent > 0.0 else 0.0
    keys = np.empty(n, np.int64)
    kept = 0
    for i in range(n):
        x, y, z = xyz[i, 0], xyz[i, 1], xyz[i, 2]
        if exclude_origin and np.float64((x * x + y * y) + z * z) <= EXCLUDED_D2:
            continue
        cx = _spread(np.int64((x - lo_x) * scale))
        cy = _spread(np.int64((y - lo_y) * scale))
        cz = _spread(np.int64((z - lo_z) * scale))
        keys[kept] = ((cx | (cy << 1) | (cz << 2)) << 32) | i
        kept += 1
    return keys[:kept]


@kernel
def _sample_sorted(xyz, order, n):  # type: ignore[no-untyped-def]
    out = np.zeros(n, np.int32)
    m = order.shape[0]
    if m == 0:
        return out
    blocks = (m + BLOCK - 1) // BLOCK
    size = blocks * BLOCK
    x, y, z = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    d2 = np.empty(size, np.float32)
    rank = np.empty(size, np.int64)  # larger = lower index, so that a maximum breaks ties as required
    for s in range(size):
        i = np.int64(order[min(s, m - 1)] & _LOW)
        x[s], y[s], z[s] = xyz[i, 0], xyz[i, 1], xyz[i, 2]
        d2[s] = INITIAL_D2 if s < m else np.float32(-1.0)  # padding never wins and never grows
        rank[s] = _LOW - i
    # Non-negative floats order like their bit patterns; integer maxima vectorise, float ones do not.
    bits = d2.view(np.int32)

    box = np.empty((6, blocks), np.float32)
    for b in range(blocks):
        a = b * BLOCK
        box[0, b], box[1, b] = x[a : a + BLOCK].min(), x[a : a + BLOCK].max()
        box[2, b], box[3, b] = y[a : a + BLOCK].min(), y[a : a + BLOCK].max()
        box[4, b], box[5, b] = z[a : a + BLOCK].min(), z[a : a + BLOCK].max()
    lo_x, hi_x, lo_y, hi_y, lo_z, hi_z = box[0], box[1], box[2], box[3], box[4], box[5]
    best_d2 = np.full(blocks, INITIAL_D2, np.float32)
    best_key = np.empty(blocks, np.int64)  # distance bits in the high, rank in the low half
    for b in range(blocks):
        best_key[b] = (np.int64(bits[b * BLOCK]) << 32) | rank[b * BLOCK : (b + 1) * BLOCK].max()
    touched = np.empty(blocks, np.int32)

    zero = np.float32(0.0)
    pick = np.int64(0)
    for j in range(1, n):
        px, py, pz = xyz[pick, 0], xyz[pick, 1], xyz[pick, 2]
        for b in range(blocks):
            ax = max(max(lo_x[b] - px, px - hi_x[b]), zero)
            ay = max(max(lo_y[b] - py, py - hi_y[b]), zero)
            az = max(max(lo_z[b] - pz, pz - hi_z[b]), zero)
            touched[b] = 1 if (ax * ax + ay * ay) + az * az < best_d2[b] else 0
        for b in range(blocks):
            if touched[b] == 0:
                continue
            a = b * BLOCK
            for s in range(a, a + BLOCK):
                dx, dy, dz = x[s] - px, y[s] - py, z[s] - pz
                d = (dx * dx + dy * dy) + dz * dz
                v = d2[s]
                d2[s] = d if d < v else v
            key = np.int64(-1)
            for s in range(a, a + BLOCK):
                key = max(key, (np.int64(bits[s]) << 32) | rank[s])
            best_key[b] = key
            best_d2[b] = np.int32(key >> 32).view(np.float32)
        top = np.int64(-1)
        for b in range(blocks):
            top = max(top, best_key[b])
        pick = _LOW - (top & _LOW)
        out[j] = pick
    return out
