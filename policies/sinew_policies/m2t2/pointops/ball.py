"""Ball query with two exact strategies, chosen per centre.

Where a ball holds many points, scanning the cloud in index order finds the first k after a short prefix.
Where it holds few, the cells of a grid around the centre hold all hits, and a bitmap returns them in index
order. A prefix scan that found too few within its budget is followed by the grid.
"""

import numpy as np

from sinew_policies.common.jit import kernel
from sinew_policies.common.types import F32, I32
from sinew_policies.m2t2.pointops.grid import bin_points, cell_range

_CHUNK = 64
_SLACK = 1.0 + 1e-5  # float32 distances may round to inside the ball: look a little beyond it


def query(xyz: F32, centres: F32, radius: float, k: int) -> I32:
    """Indices (M, k) of the first k points of xyz (N, 3), in index order, with d² < radius² of each centre.

    Free slots repeat the first hit; a centre without a hit gets zeros.
    """
    r = np.float32(radius)
    # Half a radius per cell: the searched cells then hold about 2.5 times the points of the ball.
    return _query(xyz, centres, np.float32(r * r), np.float64(radius) * _SLACK, np.float64(radius) * 0.5, k)


@kernel
def _query(xyz, centres, r2, reach, cell_m, k):  # type: ignore[no-untyped-def]
    n = xyz.shape[0]
    m = centres.shape[0]
    out = np.zeros((m, k), np.int32)
    # Padded by points that are in no ball, so that every chunk is whole.
    chunks = (n + _CHUNK - 1) // _CHUNK
    x, y, z = (
        np.full(chunks * _CHUNK, np.inf, np.float32),
        np.full(chunks * _CHUNK, np.inf, np.float32),
        np.full(chunks * _CHUNK, np.inf, np.float32),
    )
    x[:n], y[:n], z[:n] = xyz[:, 0], xyz[:, 1], xyz[:, 2]
    hit = np.empty(_CHUNK, np.uint8)
    hit_words = hit.view(np.uint64)
    origin, size, dims, start, order = bin_points(xyz, cell_m)
    gx, gy, gz = x[order], y[order], z[order]
    bitmap = np.zeros((n + 63) // 64, np.uint64)
    summary = np.zeros((bitmap.shape[0] + 63) // 64, np.uint64)
    one = np.uint64(1)
    for c in range(m):
        px, py, pz = centres[c, 0], centres[c, 1], centres[c, 2]
        x0, x1 = cell_range(px, reach, origin[0], size, dims[0])
        y0, y1 = cell_range(py, reach, origin[1], size, dims[1])
        z0, z1 = cell_range(pz, reach, origin[2], size, dims[2])
        if x0 > x1 or y0 > y1 or z0 > z1:
            continue
        work = 0
        for ix in range(x0, x1 + 1):
            for iy in range(y0, y1 + 1):
                row = (ix * dims[1] + iy) * dims[2]
                work += start[row + z1 + 1] - start[row + z0]
        if work == 0:
            continue

        found = 0
        if work * work > k * n:  # a prefix of about 3·k·n / work points is expected to do, and is cheaper
            budget = min(n, max(4 * k * n // work, work))
            tested = 0
            while tested < budget and found < k:
                for s in range(_CHUNK):
                    dx, dy, dz = px - x[tested + s], py - y[tested + s], pz - z[tested + s]
                    hit[s] = (dx * dx + dy * dy) + dz * dz < r2
                for w in range(_CHUNK // 8):
                    if hit_words[w] == 0:
                        continue
                    for s in range(8 * w, 8 * w + 8):
                        if hit[s] and found < k:
                            out[c, found] = tested + s
                            found += 1
                tested += _CHUNK
            if found == k or tested >= n:
                for s in range(found, k):
                    out[c, s] = out[c, 0]
                continue

        for ix in range(x0, x1 + 1):
            for iy in range(y0, y1 + 1):
                row = (ix * dims[1] + iy) * dims[2]
                for s in range(start[row + z0], start[row + z1 + 1]):
                    dx, dy, dz = px - gx[s], py - gy[s], pz - gz[s]
                    if (dx * dx + dy * dy) + dz * dz < r2:
                        i = order[s]
                        word = i >> 6
                        bitmap[word] |= one << np.uint64(i & 63)
                        summary[word >> 6] |= one << np.uint64(word & 63)
        found = 0
        for g in range(summary.shape[0]):
            words = summary[g]
            summary[g] = np.uint64(0)
            while words != 0:
                word = (g << 6) + _lowest_bit(words)
                words &= words - one
                hits = bitmap[word]
                bitmap[word] = np.uint64(0)
                while hits != 0 and found < k:
                    out[c, found] = (word << 6) + _lowest_bit(hits)
                    hits &= hits - one
                    found += 1
        for s in range(found, k):
            out[c, s] = out[c, 0]  # zero when nothing was found
    return out


@kernel
def _lowest_bit(word):  # type: ignore[no-untyped-def]
    """Position of the lowest set bit of a non-zero uint64."""
    isolated = word & (~word + np.uint64(1))
    n = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if isolated >> np.uint64(n + shift) != 0:
            n += shift
    return n
