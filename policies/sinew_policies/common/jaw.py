"""How the Panda's parallel jaw goes to a grasp: how wide it opens first, and how deep it may reach.

Labels, the collision filter and every executor use these rules, so that what was checked is what is done.
"""

import numpy as np

from sinew_policies.common.geometry import HAND_DEPTH_M
from sinew_policies.common.types import F64

MAX_OPENING_M = 0.08
OPENING_CLEARANCE_M = 0.03
FINGERTIP_Z_M = HAND_DEPTH_M + 0.0089
FINGER_HALF_WIDTH_M = 0.010
FINGER_THICKNESS_M = 0.0144
MAX_RETREAT_M = 0.007
"""The contact line may lie this far ahead of the pads' middle; beyond, too little pad is left."""

TABLE_CLEARANCE_M = 0.0025


def opening_for(width_m: float) -> float:
    """Total opening in metres with which the hand approaches contacts that lie `width_m` apart."""
    return float(min(width_m + OPENING_CLEARANCE_M, MAX_OPENING_M))


def fingertip_corners(opening_m: float) -> F64:
    """Corners (8, 3) of the two open fingertips' ends in the grasp frame (x closing, z approach)."""
    x = np.array([opening_m / 2.0, opening_m / 2.0 + FINGER_THICKNESS_M])
    xs = np.concatenate([x, -x])
    return np.array([[a, b, FINGERTIP_Z_M] for a in xs for b in (-FINGER_HALF_WIDTH_M, FINGER_HALF_WIDTH_M)])


def clear_of_table(T_base_grasp: F64, width_m: float, *, table_z_m: float = 0.0) -> F64:
    """The grasp (4, 4), moved back along its approach until the fingertips clear the table.

    Moves at most MAX_RETREAT_M, so the result may still touch; the collision check then says so.
    """
    return clear_all_of_table(T_base_grasp[None], np.array([width_m]), table_z_m=table_z_m)[0]


def clear_all_of_table(T_base_grasps: F64, widths_m: F64, *, table_z_m: float = 0.0) -> F64:
    """`clear_of_table` for grasps (N, 4, 4) and widths (N,)."""
    z = T_base_grasps[:, 2, :]  # (N, 4) world height of the grasp's axes and origin
    # Of a fingertip's corners the outer ones are the lowest, whichever way the closing axis tilts.
    outer = np.minimum(widths_m + OPENING_CLEARANCE_M, MAX_OPENING_M) / 2.0 + FINGER_THICKNESS_M
    tilted = np.abs(z[:, 0])
    lowest = z[:, 3] + FINGERTIP_Z_M * z[:, 2] - FINGER_HALF_WIDTH_M * np.abs(z[:, 1])
    lowest = lowest - outer * tilted
    deficit = table_z_m + TABLE_CLEARANCE_M - lowest
    back = np.where(
        (deficit > 0.0) & (z[:, 2] <= -0.1),
        np.minimum(deficit / np.maximum(-z[:, 2], 0.1), MAX_RETREAT_M),
        0.0,
    )
    moved = T_base_grasps.copy()
    moved[:, :3, 3] -= back[:, None] * T_base_grasps[:, :3, 2]
    return moved
