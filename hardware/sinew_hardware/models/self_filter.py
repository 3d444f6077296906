"""Takes the robot's own points out of a cloud, by the collision shapes of its links."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sinew_hardware.models.panda import HAND_BODY, LINK_CAPSULES
from sinew_hardware.models.panda_hand import boxes_in_hand
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.geometry import apply, inverse
from sinew_policies.common.types import F32, F64

FILTERED_LINKS: tuple[str, ...] = (*(f"panda_link{i}" for i in range(len(LINK_CAPSULES))), HAND_BODY)
"""Links whose pose `robot_points` needs."""


def robot_points(
    xyz: F32, T_base_links: Mapping[str, F64], *, width_m: float = 0.08, margin_m: float = 0.012
) -> NDArray[np.bool_]:
    """True (N,) where a point of `xyz` (N, 3, base) belongs to the robot.

    `T_base_links` gives the pose of every name in FILTERED_LINKS, `width_m` the hand's opening; `margin_m` covers
    depth noise and calibration. Raises ConfigError when a link is missing.
    """
    missing = [name for name in FILTERED_LINKS if name not in T_base_links]
    if missing:
        raise ConfigError(f"poses of links {', '.join(missing)} are missing; expected {', '.join(FILTERED_LINKS)}")
    points = xyz.astype(np.float64)
    inside = np.zeros(len(points), bool)
    for i, capsules in enumerate(LINK_CAPSULES):
        T_base_link = T_base_links[f"panda_link{i}"]
        for capsule in capsules:
            ends = apply(T_base_link, np.array([capsule[:3], capsule[3:6]]))  # (2, 3)
            inside |= _in_capsule(points, ends, capsule[6] + margin_m)
    in_hand = apply(inverse(T_base_links[HAND_BODY]), points)  # (N, 3)
    centres, halves = boxes_in_hand(width_m)
    for centre, half in zip(centres, halves, strict=True):
        inside |= np.all(np.abs(in_hand - centre) <= half + margin_m, axis=1)
    return inside


def _in_capsule(points: F64, ends: F64, radius_m: float) -> NDArray[np.bool_]:
    inside = np.zeros(len(points), bool)
    lower, upper = ends.min(axis=0) - radius_m, ends.max(axis=0) + radius_m
    near = np.flatnonzero(np.all((points >= lower) & (points <= upper), axis=1))
    if len(near) == 0:
        return inside
    axis = ends[1] - ends[0]
    length2 = float(axis @ axis)
    along = (points[near] - ends[0]) @ axis / length2 if length2 > 0.0 else np.zeros(len(near))
    closest = ends[0] + np.clip(along, 0.0, 1.0)[:, None] * axis  # (n, 3)
    inside[near] = np.sum((points[near] - closest) ** 2, axis=1) <= radius_m**2
    return inside
