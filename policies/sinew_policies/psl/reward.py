"""Relaxed reward: reach the goal and look its way, pitch does not matter (paper, goal relaxation).

R = g_s [d < e_d] + g_s [d < e_d] [yaw error < e_a] + r_d + r_a - g_delay, where the two success terms need STOP,
r_d is the decrease of the geodesic distance in metres and r_a that of the yaw error in radians near the goal.
Poses are in Habitat's frame: y up, the camera looks along -z, headings live in the x-z plane.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F64


@dataclass(frozen=True)
class RewardConfig:
    success: float = 5.0  # g_s
    slack: float = 0.01  # g_delay, per step
    distance_m: float = 1.0  # e_d, radius of success and of angle shaping
    angle_rad: float = math.radians(25.0)  # e_a
    pi_outside: bool = True  # the yaw error counts as pi outside e_d: a bonus on entry, its loss on exit

    def __post_init__(self) -> None:
        if not (math.isfinite(self.success) and math.isfinite(self.slack)):
            raise ConfigError(f"success {self.success} and slack {self.slack} must be finite")
        if not (self.distance_m > 0.0 and math.isfinite(self.distance_m)):
            raise ConfigError(f"distance_m is {self.distance_m}; expected metres above 0")
        if not 0.0 < self.angle_rad <= math.pi:
            raise ConfigError(f"angle_rad is {self.angle_rad}; expected above 0 and at most pi")


@dataclass(frozen=True)
class GoalRelation:
    """Where N agents stand relative to their goals."""

    distance_m: F64  # (N,) geodesic
    yaw_error_rad: F64  # (N,) 0..pi


def relaxed_reward(
    before: GoalRelation, after: GoalRelation, stopped: ArrayLike, config: RewardConfig | None = None
) -> F64:
    """Reward (N,) of a step that led from `before` to `after`; `stopped` (N,) is whether the action was STOP.

    Raises DataError where a distance or angle is not finite: an unreachable goal has no reward.
    """
    c = config or RewardConfig()
    for name, relation in (("before", before), ("after", after)):
        values = np.stack([relation.distance_m, relation.yaw_error_rad])
        if not np.isfinite(values).all():
            bad = int(np.argmax(~np.isfinite(values).all(0)))
            raise DataError(
                f"reward: agent {bad} is {values[0, bad]} m, {values[1, bad]} rad from its goal {name} the step; "
                "an unreachable goal cannot be learned from: drop that episode"
            )
    near = after.distance_m < c.distance_m  # (N,)
    arrived = near & np.asarray(stopped, bool)
    facing = arrived & (after.yaw_error_rad < c.angle_rad)
    closer_m = before.distance_m - after.distance_m
    was_near = before.distance_m < c.distance_m
    if c.pi_outside:
        turned = np.where(was_near, before.yaw_error_rad, math.pi) - np.where(near, after.yaw_error_rad, math.pi)
    else:
        turned = np.where(was_near & near, before.yaw_error_rad - after.yaw_error_rad, 0.0)
    return c.success * arrived + c.success * facing + closer_m + turned - c.slack


def yaw_error_rad(agent: ArrayLike, goal: ArrayLike) -> F64:
    """Angle 0..pi between two headings given as quaternions xyzw (..., 4), in the x-z plane only."""
    a, g = heading(agent), heading(goal)
    cross = a[..., 0] * g[..., 1] - a[..., 1] * g[..., 0]
    error: F64 = np.abs(np.arctan2(cross, (a * g).sum(-1)))
    return error


def heading(rotation: ArrayLike) -> F64:
    """Unit (x, z) in which a camera of rotation xyzw (..., 4) looks, whatever its pitch.

    A camera that looks straight up or down is judged by its right side, which pitch leaves level.
    Raises DataError for a quaternion that is zero or not finite.
    """
    q = np.asarray(rotation, np.float64)
    if q.shape[-1:] != (4,):
        raise DataError(f"rotations have shape {q.shape}; expected (..., 4) quaternions x, y, z, w")
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if not np.isfinite(norm).all() or bool((norm < 1e-9).any()):
        raise DataError("a rotation quaternion is zero or not finite; expected unit length in the order x, y, z, w")
    x, y, z, w = np.moveaxis(q / norm, -1, 0)
    ahead = np.stack([-2.0 * (x * z + w * y), 2.0 * (x * x + y * y) - 1.0], -1)  # (..., 2) x and z of R (0, 0, -1)
    right = np.stack([1.0 - 2.0 * (y * y + z * z), 2.0 * (x * z - w * y)], -1)  # (..., 2) x and z of R (1, 0, 0)
    level = np.linalg.norm(ahead, axis=-1, keepdims=True)
    from_right = np.stack([right[..., 1], -right[..., 0]], -1)  # a quarter turn left of the right side
    direction: NDArray[np.float64] = np.where(level > 1e-3, ahead, from_right)
    return direction / np.linalg.norm(direction, axis=-1, keepdims=True)
