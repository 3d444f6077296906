"""Crossings between neighbouring tiles: their edges on the common border overlap but need not be equal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64

I64 = NDArray[np.int64]
_STEPS = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))  # (x, y) of side 0..7
_GAP_M = 0.01  # across the border
_LEAST_M = 1e-4  # along it
_MAX_PER_EDGE = 16


@dataclass(frozen=True, eq=False)
class BorderEdges:
    """E edges that lie on a tile's border."""

    polygon: I64  # (E,)
    start: F64  # (E, 3) metres
    end: F64  # (E, 3)
    side: I64  # (E,) 0..7
    tile: I64  # (E, 2) place of the tile in the grid

    @staticmethod
    def of(corners: F64, following: I64, sides: I64, grid: I64) -> "BorderEdges":
        """From (P, 6, 3) corners, the corner that ends each edge, (P, 6) sides and (P, 2) tile places."""
        polygon, edge = np.nonzero(sides >= 0)
        return BorderEdges(
            polygon,
            corners[polygon, edge],
            corners[polygon, following[polygon, edge]],
            sides[polygon, edge],
            grid[polygon],
        )


@dataclass(frozen=True, eq=False)
class BorderPortals:
    """First all crossings one way, then, in the same order, the other way."""

    source: I64
    target: I64
    left: F64
    right: F64


def join_borders(edges: BorderEdges, climb_m: float, name: str) -> BorderPortals:
    """Pairs edges of opposite sides of adjacent tiles that overlap and differ in height by a step at most.

    Raises DataError for more overlaps than tiles can have.
    """
    keys = np.column_stack([edges.tile, edges.side])
    order = np.lexsort(keys.T)
    starts = np.flatnonzero((np.diff(keys[order], axis=0, prepend=keys[order][:1] - 1) != 0).any(axis=1))
    groups: dict[tuple[int, int, int], I64] = {}
    for members in np.split(order, starts[1:]) if len(order) else ():
        x, y, side = (int(v) for v in keys[members[0]])
        groups[x, y, side] = members
    found: list[tuple[int, int, F64, F64]] = []
    for (x, y, side), ours in groups.items():
        if side >= 4:
            continue  # the pair is found from its other half
        step_x, step_y = _STEPS[side]
        theirs = groups.get((x + step_x, y + step_y, side + 4))
        if theirs is None:
            continue
        axis = 2 if side in (0, 4) else 0  # runs along z between x neighbours, along x otherwise
        for a in ours:
            found += _overlaps(edges, int(a), theirs, axis, climb_m)
            if len(found) > _MAX_PER_EDGE * len(keys):
                raise DataError(
                    f"{name}: more than {_MAX_PER_EDGE} edges of other tiles lie along an edge on average; "
                    "the file is damaged: fetch it again"
                )
    source = np.array([f[0] for f in found], np.int64)
    target = np.array([f[1] for f in found], np.int64)
    left = np.array([f[2] for f in found], np.float64).reshape(-1, 3)
    right = np.array([f[3] for f in found], np.float64).reshape(-1, 3)
    return BorderPortals(
        np.concatenate([source, target]),
        np.concatenate([target, source]),
        np.concatenate([left, right]),
        np.concatenate([right, left]),
    )


def _overlaps(
    edges: BorderEdges, a: int, theirs: I64, axis: int, climb_m: float
) -> list[tuple[int, int, F64, F64]]:
    start, end = edges.start[a], edges.end[a]
    low, high = min(start[axis], end[axis]), max(start[axis], end[axis])
    if high - low < _LEAST_M:
        return []
    other = np.stack([edges.start[theirs], edges.end[theirs]])  # (2, K, 3)
    from_ = np.maximum(other[..., axis].min(axis=0), low)
    to = np.minimum(other[..., axis].max(axis=0), high)
    across = 2 - axis
    near = np.abs(other[..., across].mean(axis=0) - (start[across] + end[across]) / 2.0) < _GAP_M
    portals = []
    for k in np.flatnonzero(near & (to - from_ > _LEAST_M)):
        ours = [start + (end - start) * (v - start[axis]) / (end[axis] - start[axis]) for v in (from_[k], to[k])]
        b_start, b_end = other[0, k], other[1, k]
        span = b_end[axis] - b_start[axis]
        heights = [b_start[1] + (b_end[1] - b_start[1]) * (v - b_start[axis]) / span for v in (from_[k], to[k])]
        gaps = [mine[1] - height for mine, height in zip(ours, heights, strict=True)]
        # Where the two slopes cross, the heights agree somewhere in between.
        if min(abs(g) for g in gaps) > climb_m + 1e-3 and gaps[0] * gaps[1] > 0.0:
            continue
        # The edge runs counterclockwise, from the right end to the left end as seen from inside.
        forward = end[axis] > start[axis]
        right, left = (ours[0], ours[1]) if forward else (ours[1], ours[0])
        portals.append((int(edges.polygon[a]), int(edges.polygon[theirs[k]]), left, right))
    return portals
