"""A joint trajectory as a function of time, interpolated by what derivatives its points carry.

Positions, velocities and accelerations: quintic; positions and velocities: cubic; positions alone: a quintic
from rest to rest for one segment, a clamped cubic spline for more.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BPoly, CubicSpline, PPoly

from sinew_policies.common.types import F64


@dataclass(frozen=True)
class JointPath:
    """Points as given, joints in the arm's order."""

    t_s: F64  # (T,) increasing, >= 0
    q: F64  # (T, J) rad
    dq: F64 | None = None  # (T, J) rad/s
    ddq: F64 | None = None  # (T, J) rad/s²


@dataclass(frozen=True)
class JointSample:
    q: F64  # (J,)
    dq: F64
    ddq: F64


_BLEND_S = 0.3


class Motion:
    """A path that starts at `start` (at t = 0) and rests at its last point.

    A first point due later than t = 0 is reached from `start`. A first point due at once is where the planner
    believed the arm to be; what it was wrong by fades out over the first 0.3 s instead of being jumped.
    """

    def __init__(self, path: JointPath, start: JointSample) -> None:
        zero = np.zeros_like(start.q)
        if path.t_s[0] > 0.0:
            path = _from_start(path, start)
        self.duration_s = float(path.t_s[-1])
        self._offset = start.q - path.q[0]
        self._blend_s = min(_BLEND_S, self.duration_s)
        self._end = JointSample(path.q[-1].copy(), zero, zero)
        self._curve = _curve(path, start) if len(path.t_s) > 1 else None
        self._velocity = self._curve.derivative() if self._curve is not None else None
        self._acceleration = self._velocity.derivative() if self._velocity is not None else None

    @property
    def goal(self) -> F64:
        """Last point (J,)."""
        return self._end.q

    def at(self, t_s: float) -> JointSample:
        if t_s >= self.duration_s:
            return self._end
        _, q, dq, ddq = self._evaluate(np.array([max(t_s, 0.0)]))
        return JointSample(q[0], dq[0], ddq[0])

    def sampled(self, period_s: float) -> tuple[F64, F64, F64, F64]:
        """(t (N,), q, dq, ddq (N, J)) over the whole duration."""
        n = max(int(np.ceil(self.duration_s / period_s)), 1)
        return self._evaluate(np.linspace(0.0, self.duration_s, n + 1))

    def _evaluate(self, t: F64) -> tuple[F64, F64, F64, F64]:
        if self._curve is None or self._velocity is None or self._acceleration is None:
            zero = np.zeros((len(t), len(self._end.q)))
            return t, zero + self._end.q, zero, zero
        q, dq, ddq = self._curve(t), self._velocity(t), self._acceleration(t)
        fading = t < self._blend_s
        if fading.any() and self._offset.any():
            u = (t[fading] / self._blend_s)[:, None]
            h = self._blend_s
            q[fading] += self._offset * (1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2))
            dq[fading] -= self._offset / h * (30.0 * u**2 * (1.0 - u) ** 2)
            ddq[fading] -= self._offset / h**2 * (60.0 * u * (1.0 - u) * (1.0 - 2.0 * u))
        return t, q, dq, ddq


def _from_start(path: JointPath, start: JointSample) -> JointPath:
    """The path with the start as its first point."""

    def before(first: F64, rest: F64 | None) -> F64 | None:
        return None if rest is None else np.concatenate([first[None], rest])

    t_s, q = np.concatenate([[0.0], path.t_s]), np.concatenate([start.q[None], path.q])
    return JointPath(t_s, q, before(start.dq, path.dq), before(start.ddq, path.ddq))


def _curve(path: JointPath, start: JointSample) -> PPoly:
    zero = np.zeros_like(start.q)
    dq, ddq = path.dq, path.ddq
    if dq is None and len(path.t_s) > 2:
        return CubicSpline(path.t_s, path.q, bc_type=((1, start.dq), (1, zero)))
    if dq is None:
        dq, ddq = np.stack([start.dq, zero]), np.stack([start.ddq, zero])
    derivatives = np.stack([path.q, dq] if ddq is None else [path.q, dq, ddq], axis=1)  # (T, 2 or 3, J)
    return PPoly.from_bernstein_basis(BPoly.from_derivatives(path.t_s, derivatives))
