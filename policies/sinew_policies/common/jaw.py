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
    approach = T_base_grasp[:3, 2]
    if approach[2] > -0.1:
        return T_base_grasp
    tips = fingertip_corners(opening_for(width_m)) @ T_base_grasp[:3, :3].T + T_base_grasp[:3, 3]
    deficit = table_z_m + TABLE_CLEARANCE_M - float(tips[:, 2].min())
    if deficit <= 0.0:
        return T_base_grasp
    moved = T_base_grasp.copy()
    moved[:3, 3] -= min(deficit / -approach[2], MAX_RETREAT_M) * approach
    return moved
