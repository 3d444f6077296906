"""Jerk-limited timing of joint paths by filtering.

The polyline is run through at constant speed per segment and then smoothed by three moving averages. The
first turns steps of velocity into ramps (acceleration at most Δv / T1), the second ramps of acceleration into
finite jerk (at most Δa / T2), the third makes the jerk continuous. Corners are rounded without a stop, a
single segment stays on its straight line, and start and end are at rest by construction. The result is
measured with the same finite differences as the safety gate uses and slowed down until it is inside.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sinew_hardware.interfaces import JointLimits
from sinew_hardware.models.panda import LIMITS
from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64, Trajectory

PERIOD_S = 0.01
_OVERSAMPLE = 10  # the filters run at 1 kHz
_JERK_TIME_S = 0.06  # T2: longer than acceleration / jerk demands, for the sake of the arm and its load
_SMOOTH_TIME_S = 0.04  # T3
_SLOW_DOWN = 1.05


@dataclass(frozen=True)
class Peaks:
    """Largest finite differences of a sampled motion as fractions of the limits; inside when all <= 1."""

    velocity: float
    acceleration: float
    jerk: float

    @property
    def worst(self) -> float:
        return max(self.velocity, self.acceleration, self.jerk)


def time_parameterise(
    path: F64,
    *,
    limits: JointLimits = LIMITS,
    scale: float = 0.8,
    corner_speed: float = 1.0,
    stop_at_corners: bool = False,
    period_s: float = PERIOD_S,
) -> Trajectory:
    """Times a polyline (P, J) rad; samples every `period_s`, from rest to rest.

    Velocity, acceleration and jerk stay inside `scale` times the limits. `corner_speed` below 1 slows the
    whole motion so that the corners are rounded less; `stop_at_corners` follows the polyline exactly.
    Raises DataError for a path that is empty, not finite or outside the position limits.
    """
    path = _checked(path, limits)
    if not 0.0 < scale <= 1.0:
        raise DataError(f"speed scale is {scale}; expected a number above 0 and at most 1")
    if stop_at_corners and len(path) > 2:
        parts = [
            time_parameterise(np.array(pair), limits=limits, scale=scale, period_s=period_s)
            for pair in pairwise(path)
        ]
        q = np.concatenate([parts[0].q, *(part.q[1:] for part in parts[1:])])
        return _differentiate(q, period_s)
    slow = 1.0
    while True:
        q = _filtered(path, limits, scale, corner_speed, slow, period_s)
        if peaks(q, limits, period_s).worst <= scale:
            return _differentiate(q, period_s)
        slow *= _SLOW_DOWN


def peaks(q: F64, limits: JointLimits = LIMITS, period_s: float = PERIOD_S) -> Peaks:
    """Finite differences of samples (T, J) as the gate sees them, with the arm at rest before and after."""
    rest = np.concatenate([np.repeat(q[:1], 3, axis=0), q, np.repeat(q[-1:], 3, axis=0)])
    velocity = np.diff(rest, axis=0) / period_s
    acceleration = np.diff(velocity, axis=0) / period_s
    jerk = np.diff(acceleration, axis=0) / period_s
    return Peaks(
        float(np.max(np.abs(velocity) / limits.velocity)),
        float(np.max(np.abs(acceleration) / limits.acceleration)),
        float(np.max(np.abs(jerk) / limits.jerk)),
    )


def sample(trajectory: Trajectory, t_s: float) -> tuple[F64, F64, F64]:
    """Position, velocity and acceleration (J,) at a time, by quintic Hermite interpolation; rest outside."""
    t = trajectory.t_s
    if t_s <= t[0] or len(t) == 1:
        return trajectory.q[0].copy(), trajectory.dq[0].copy(), trajectory.ddq[0].copy()
    if t_s >= t[-1]:
        rest = np.zeros_like(trajectory.q[-1])
        return trajectory.q[-1].copy(), rest, rest.copy()
    i = int(np.searchsorted(t, t_s, side="right")) - 1
    h = float(t[i + 1] - t[i])
    u = (t_s - float(t[i])) / h
    q0, q1 = trajectory.q[i], trajectory.q[i + 1]
    v0, v1 = trajectory.dq[i] * h, trajectory.dq[i + 1] * h
    a0, a1 = trajectory.ddq[i] * h * h, trajectory.ddq[i + 1] * h * h
    d = q1 - q0
    c3 = 10.0 * d - 6.0 * v0 - 4.0 * v1 - 1.5 * a0 + 0.5 * a1
    c4 = -15.0 * d + 8.0 * v0 + 7.0 * v1 + 1.5 * a0 - a1
    c5 = 6.0 * d - 3.0 * (v0 + v1) - 0.5 * (a0 - a1)
    q = q0 + u * (v0 + u * (0.5 * a0 + u * (c3 + u * (c4 + u * c5))))
    dq = (v0 + u * (a0 + u * (3.0 * c3 + u * (4.0 * c4 + u * 5.0 * c5)))) / h
    ddq = (a0 + u * (6.0 * c3 + u * (12.0 * c4 + u * 20.0 * c5))) / (h * h)
    return q, dq, ddq


def _checked(path: F64, limits: JointLimits) -> F64:
    path = np.asarray(path, dtype=np.float64)
    if path.ndim != 2 or len(path) == 0 or path.shape[1] != len(limits.lower):
        raise DataError(f"joint path has shape {path.shape}; expected (points >= 1, {len(limits.lower)})")
    if not np.all(np.isfinite(path)):
        raise DataError("joint path holds NaN or infinity; expected finite angles in rad")
    outside = np.argwhere((path < limits.lower - 1e-9) | (path > limits.upper + 1e-9))
    if len(outside):
        row, joint = (int(v) for v in outside[0])
        raise DataError(
            f"joint {joint + 1} is {path[row, joint]:.3f} rad at point {row}; expected "
            f"{limits.lower[joint]:.3f} to {limits.upper[joint]:.3f}"
        )
    return path


def _filtered(
    path: F64, limits: JointLimits, scale: float, corner_speed: float, slow: float, period_s: float
) -> F64:
    """Samples (T, J) of the smoothed motion, all its times multiplied by `slow`."""
    steps = np.abs(np.diff(path, axis=0))  # (P - 1, J)
    seconds = np.max(steps / (limits.velocity * scale), axis=1)  # per segment at full speed
    moving = seconds > 1e-9
    if not moving.any():
        return np.repeat(path[-1:], 2, axis=0)
    points = np.concatenate([path[:1], path[1:][moving]])
    seconds = seconds[moving]
    speed = np.abs(np.diff(points, axis=0)) / seconds[:, None]
    ramp = float(np.max(speed / (limits.acceleration * scale)))  # T1 at full speed
    # Duration = way / f + ramp * f for speed factor f; its minimum for short ways lies below full speed.
    factor = min(1.0, float(np.sqrt(np.sum(seconds) / ramp))) * corner_speed
    dt = period_s / _OVERSAMPLE
    knots = np.concatenate([[0.0], np.cumsum(seconds / factor * slow)])
    boxes = [max(1, int(np.ceil(t * slow / dt))) for t in (ramp * factor, _JERK_TIME_S, _SMOOTH_TIME_S)]
    kernel = np.ones(1)
    for width in boxes:
        kernel = np.convolve(kernel, np.full(width, 1.0 / width))
    fine = np.arange(0.0, knots[-1] + dt, dt)
    raw = np.stack([np.interp(fine, knots, points[:, j]) for j in range(points.shape[1])], axis=1)
    pad = len(kernel)
    raw = np.concatenate([np.repeat(raw[:1], pad, axis=0), raw, np.repeat(points[-1:], pad, axis=0)])
    smooth = np.stack([np.convolve(raw[:, j], kernel, mode="valid") for j in range(raw.shape[1])], axis=1)
    extra = -(len(smooth) - 1) % _OVERSAMPLE
    smooth = np.concatenate([smooth, np.repeat(points[-1:], extra, axis=0)])
    q = smooth[::_OVERSAMPLE].copy()
    q[0], q[-1] = points[0], points[-1]
    return q


def _differentiate(q: F64, period_s: float) -> Trajectory:
    """Central differences for velocity and acceleration; zero at both ends, where the arm is at rest."""
    padded = np.concatenate([q[:1], q, q[-1:]])
    dq = (padded[2:] - padded[:-2]) / (2.0 * period_s)
    ddq = (padded[2:] - 2.0 * q + padded[:-2]) / period_s**2
    dq[0] = dq[-1] = 0.0
    ddq[0] = ddq[-1] = 0.0
    return Trajectory(np.asarray(np.arange(len(q)) * period_s, np.float64), q, dq, ddq)
