"""The Panda hand as boxes against a point cloud and the table, many grasps at once.

All boxes live in the grasp frame (x closing, z approach). The cloud shows only what the camera saw: a hand
that is free of points may still hit an unseen back side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common import jaw
from sinew_policies.common.jit import kernel
from sinew_policies.common.types import F32, F64, I32

PALM_BOXES = (
    ((0.0, 0.0, 0.027), (0.1025, 0.0215, 0.039)),
    ((0.0, 0.0, 0.0), (0.06, 0.0315, 0.012)),
)
"""Centre and half sizes of the hand's body, metres."""

FINGER_BOXES = (
    ((0.0172, 0.0, 0.0679), (0.0091, 0.0105, 0.0095)),
    ((0.0158, 0.0, 0.0859), (0.0073, 0.0100, 0.0085)),
    ((0.0072, 0.0, 0.1033), (0.0072, 0.0100, 0.0090)),
)
"""The finger on the +x side of a closed hand; the other mirrors x. The last one is the pad."""

_PAD = FINGER_BOXES[-1]
APPROACH_STATIONS_M = (0.0, -0.03, -0.08)
"""Where along its straight approach the open hand is checked, relative to the grasp."""


@dataclass(frozen=True)
class HandCounts:
    """For G grasps, each shifted by D depths along its approach."""

    touching: I32  # (G, D) cloud points inside the hand, the worst of the approach stations, up to the limit
    between: I32  # (G, D) cloud points between the open pads
    lowest_z_m: F64  # (G, D) lowest corner of the hand at the grasp


def hand_boxes(opening_m: ArrayLike) -> tuple[F64, F64]:
    """Centres (G, K, 3) and half sizes (K, 3) of hands opened to `opening_m` (G,)."""
    half_open = np.asarray(opening_m, dtype=np.float64) / 2.0  # (G,)
    centres, halves = [], []
    for (x, y, z), half in PALM_BOXES:
        centres.append(np.stack([np.full_like(half_open, x), half_open * 0 + y, half_open * 0 + z], axis=-1))
        halves.append(half)
    for sign in (1.0, -1.0):
        for (x, y, z), half in FINGER_BOXES:
            centres.append(np.stack([sign * (half_open + x), half_open * 0 + y, half_open * 0 + z], axis=-1))
            halves.append(half)
    return np.stack(centres, axis=-2), np.array(halves)


def count_points(
    poses: F64,
    width_m: F64,
    xyz: F32,
    *,
    depths_m: tuple[float, ...] = (0.0,),
    stations_m: tuple[float, ...] = APPROACH_STATIONS_M,
    limit: int = 1 << 30,
) -> HandCounts:
    """Counts for grasp frames `poses` (G, 4, 4) against finite points xyz (N, 3), same frame, table excluded.

    The hand is opened as `jaw.opening_for` says. A depth is metres further along the approach.
    Counting of touching points stops at `limit`: who only asks whether it is reached gets the answer sooner.
    """
    opening = np.array([jaw.opening_for(float(w)) for w in width_m])
    centres, halves = hand_boxes(opening)
    depths = np.array(depths_m, dtype=np.float64)
    x, y, z = (np.ascontiguousarray(xyz[:, a], dtype=np.float32) for a in range(3))
    pad_z, pad_half = _PAD[0][2], _PAD[1]
    gap = np.array([pad_half[1], pad_z - pad_half[2], pad_z + pad_half[2]])
    touching, between = _count(
        np.ascontiguousarray(poses, dtype=np.float64),
        opening,
        centres,
        halves,
        gap,
        x,
        y,
        z,
        depths,
        np.array(stations_m, dtype=np.float64),
        limit,
    )
    R_z = poses[:, 2, :3]  # (G, 3) world height of each grasp axis
    lowest = np.einsum("gkc,gc->gk", centres, R_z) - np.abs(R_z) @ halves.T  # (G, K)
    lowest_z = (lowest.min(axis=1) + poses[:, 2, 3])[:, None] + depths * poses[:, 2, 2:3]
    return HandCounts(touching, between, lowest_z)


def above_table(xyz: F32, table_z_m: float, clearance_m: float) -> F32:
    """The points that are not table: higher than `clearance_m` over it."""
    keep: NDArray[np.bool_] = xyz[:, 2] > table_z_m + clearance_m
    return xyz[keep]


@kernel
def _count(poses, opening, centres, halves, gap, x, y, z, depths, stations, limit):  # type: ignore[no-untyped-def]
    G, K, D, S, n = poses.shape[0], centres.shape[1], depths.shape[0], stations.shape[0], x.shape[0]
    touching = np.zeros((G, D), np.int32)
    between = np.zeros((G, D), np.int32)
    inside = np.empty(n, np.uint8)
    lx, ly, lz = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    nearest = depths.min() + min(stations.min(), 0.0)
    furthest = depths.max() + max(stations.max(), 0.0)
    for g in range(G):
        reach_x, reach_y, z_min, z_max = 0.0, 0.0, np.inf, -np.inf
        for k in range(K):
            reach_x = max(reach_x, abs(centres[g, k, 0]) + halves[k, 0])
            reach_y = max(reach_y, abs(centres[g, k, 1]) + halves[k, 1])
            z_min = min(z_min, centres[g, k, 2] - halves[k, 2])
            z_max = max(z_max, centres[g, k, 2] + halves[k, 2])
        z_min += nearest
        z_max += furthest
        # All points into the grasp frame in one branch-free loop; the few inside the hand's bounds go on.
        r00, r01, r02 = np.float32(poses[g, 0, 0]), np.float32(poses[g, 0, 1]), np.float32(poses[g, 0, 2])
        r10, r11, r12 = np.float32(poses[g, 1, 0]), np.float32(poses[g, 1, 1]), np.float32(poses[g, 1, 2])
        r20, r21, r22 = np.float32(poses[g, 2, 0]), np.float32(poses[g, 2, 1]), np.float32(poses[g, 2, 2])
        tx, ty, tz = np.float32(poses[g, 0, 3]), np.float32(poses[g, 1, 3]), np.float32(poses[g, 2, 3])
        bx, by = np.float32(reach_x), np.float32(reach_y)
        b0, b1 = np.float32(z_min), np.float32(z_max)
        for i in range(n):
            dx, dy, dz = x[i] - tx, y[i] - ty, z[i] - tz
            px = r00 * dx + r10 * dy + r20 * dz
            py = r01 * dx + r11 * dy + r21 * dz
            pz = r02 * dx + r12 * dy + r22 * dz
            lx[i], ly[i], lz[i] = px, py, pz
            inside[i] = (abs(px) <= bx) & (abs(py) <= by) & (pz >= b0) & (pz <= b1)
        m = 0
        for i in range(n):
            if inside[i]:
                lx[m], ly[m], lz[m] = lx[i], ly[i], lz[i]
                m += 1
        half_open = opening[g] / 2.0
        for d in range(D):
            for i in range(m):
                pz = lz[i] - depths[d]
                if abs(lx[i]) <= half_open and abs(ly[i]) <= gap[0] and pz >= gap[1] and pz <= gap[2]:
                    between[g, d] += 1
            for s in range(S):
                if touching[g, d] >= limit:
                    break
                count = 0
                for i in range(m):
                    px, py, pz = lx[i], ly[i], lz[i] - depths[d] - stations[s]
                    for k in range(K):
                        if (
                            abs(pz - centres[g, k, 2]) <= halves[k, 2]
                            and abs(px - centres[g, k, 0]) <= halves[k, 0]
                            and abs(py - centres[g, k, 1]) <= halves[k, 1]
                        ):
                            count += 1
                            break
                    if count == limit:
                        break
                touching[g, d] = max(touching[g, d], count)
    return touching, between
