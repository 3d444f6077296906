"""Position, velocity, acceleration and jerk limits of commanded samples, with a proof of braking.

State: the last output q and the divided differences v, a of the outputs before it. A new output is feasible
if v, a and jerk are inside their limits AND the stop law below, started from the new state, comes to rest
without leaving the position and velocity limits. The stop law's own next sample is then always feasible, so
whatever the source sends there is an output inside all limits. Exact for a steady period; with a jittering
one the differences use the real times and the braking forecast the nominal period.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_hardware.interfaces import JointLimits
from sinew_policies.common.types import F64

_EPS = 1e-6  # relative; a planned motion may ride exactly on its limit
_BISECTIONS = 12
_MAX_STOP_STEPS = 2000


@dataclass(frozen=True)
class Step:
    """One sample and the differences that lead to it."""

    q: F64  # (J,)
    v: F64
    a: F64


class JointLimiter:
    def __init__(self, limits: JointLimits, period_s: float) -> None:
        self._limits = limits
        self._period_s = period_s
        self._jt = limits.jerk * period_s
        self.reset(np.zeros_like(limits.lower))

    @property
    def q(self) -> F64:
        """Last output (J,) rad."""
        return self._now.q

    @property
    def v(self) -> F64:
        """Velocity (J,) rad/s of the last output against the one before."""
        return self._now.v

    @property
    def at_rest(self) -> bool:
        return not (self._now.v.any() or self._now.a.any())

    def reset(self, q: F64) -> None:
        """At rest at q (J,), which is pulled inside the position limits."""
        zero = np.zeros_like(self._limits.lower)
        self._now = Step(np.clip(q, self._limits.lower, self._limits.upper), zero, zero)
        self._dt1 = self._dt2 = self._period_s

    def commit(self, step: Step, dt_s: float) -> None:
        self._now = step
        self._dt1, self._dt2 = dt_s, self._dt1

    def follow(self, q: F64, dt_s: float) -> Step:
        """The sample that goes to q (J,) exactly; may violate limits, see `feasible`."""
        h2, _ = self._spans(dt_s)
        v = (q - self._now.q) / dt_s
        return Step(np.array(q, np.float64), v, (v - self._now.v) / h2)

    def feasible(self, step: Step, dt_s: float) -> bool:
        """Whether the sample respects every limit and can still be stopped inside them."""
        limits = self._limits
        _, h3 = self._spans(dt_s)
        one = 1.0 + _EPS
        if not (
            np.all(np.abs(step.v) <= limits.velocity * one)
            and np.all(np.abs(step.a) <= limits.acceleration * one)
            and np.all(np.abs(step.a - self._now.a) <= limits.jerk * h3 * one)
        ):
            return False
        rest_v = step.v + self._ramp_down(step.a)
        return bool(np.all(np.abs(rest_v) <= limits.velocity * one) and not self._cannot_stop(step).any())

    def clamp(self, q: F64, dt_s: float) -> Step:
        """The feasible sample nearest to q (J,), joint by joint."""
        wanted = self.follow(q, dt_s).a
        low, high = self._acceleration_range(dt_s)
        step = self._advance(np.clip(wanted, low, high), dt_s)
        stuck = self._cannot_stop(step)
        if stuck.any():
            brake = self.brake(dt_s)
            a = step.a.copy()
            for j in np.flatnonzero(stuck):
                a[j] = self._latest_safe(int(j), float(brake.a[j]), float(a[j]), dt_s)
            step = self._advance(a, dt_s)
        return step

    def coast(self, dt_s: float) -> Step:
        """Goes on with the acceleration fading out, for a source that is a tick late; brakes at limits."""
        _, h3 = self._spans(dt_s)
        fade = self._limits.jerk * h3
        step = self._advance(self._now.a - np.clip(self._now.a, -fade, fade), dt_s)
        return step if self.feasible(step, dt_s) else self.brake(dt_s)

    def brake(self, dt_s: float) -> Step:
        """One sample of the stop law: the fastest way to v = a = 0 that the limits allow."""
        _, h3 = self._spans(dt_s)
        wanted = -np.sign(self._now.v) * _inverse_ramp(np.abs(self._now.v) / self._period_s, self._jt)
        reach = self._limits.jerk * h3
        a = np.clip(wanted, self._now.a - reach, self._now.a + reach)
        a = np.clip(a, -self._limits.acceleration, self._limits.acceleration)
        step = self._advance(a, dt_s)
        still = (np.abs(step.v) < 1e-10) & (np.abs(step.a) < 1e-6)
        return Step(step.q, np.where(still, 0.0, step.v), np.where(still, 0.0, step.a))

    def stop_reach(self, step: Step) -> F64:
        """Where the joints (J,) come to rest after `step` if they brake at once, to about a degree."""
        limits = self._limits
        speed = np.abs(step.v)
        way = speed * speed / (2.0 * limits.acceleration) + speed * (
            limits.acceleration / (2.0 * limits.jerk) + self._period_s
        )
        reach: F64 = np.clip(step.q + np.sign(step.v) * way, limits.lower, limits.upper)
        return reach

    def _spans(self, dt_s: float) -> tuple[float, float]:
        """Times over which acceleration and jerk are divided differences."""
        return (dt_s + self._dt1) / 2.0, (dt_s + self._dt1 + self._dt2) / 3.0

    def _advance(self, a: F64, dt_s: float) -> Step:
        h2, _ = self._spans(dt_s)
        v = np.clip(self._now.v + a * h2, -self._limits.velocity, self._limits.velocity)
        q = np.clip(self._now.q + v * dt_s, self._limits.lower, self._limits.upper)
        return Step(q, v, a)

    def _acceleration_range(self, dt_s: float) -> tuple[F64, F64]:
        limits = self._limits
        _, h3 = self._spans(dt_s)
        reach = limits.jerk * h3
        high = np.minimum(limits.acceleration, self._now.a + reach)
        low = np.maximum(-limits.acceleration, self._now.a - reach)
        room_up = np.maximum(limits.velocity - self._now.v, 0.0) / self._period_s
        room_down = np.maximum(limits.velocity + self._now.v, 0.0) / self._period_s
        high = np.maximum(np.minimum(high, _inverse_ramp(room_up, self._jt)), low)
        low = np.minimum(np.maximum(low, -_inverse_ramp(room_down, self._jt)), high)
        return low, high

    def _ramp_down(self, a: F64) -> F64:
        """Change of velocity (J,) while a fades to zero at the jerk limit, after the present sample."""
        size = np.abs(a)
        n = np.floor(size / self._jt)
        total: F64 = np.sign(a) * self._period_s * (n * size - self._jt * n * (n + 1.0) / 2.0)
        return total

    def _cannot_stop(self, step: Step) -> NDArray[np.bool_]:
        """Which joints (J,) would run over a position limit if they braked from `step`."""
        limits = self._limits
        T = self._period_s
        peak = np.abs(step.v) + np.abs(step.a) * (np.abs(step.a) / limits.jerk + T)
        way = peak * peak / (2.0 * limits.acceleration) + peak * (limits.acceleration / limits.jerk + 4.0 * T)
        near: NDArray[np.bool_] = (step.q - way < limits.lower) | (step.q + way > limits.upper)
        for j in np.flatnonzero(near):
            near[j] = not self._stops_inside(int(j), float(step.q[j]), float(step.v[j]), float(step.a[j]))
        return near

    def _stops_inside(self, j: int, q: float, v: float, a: float) -> bool:
        """Runs the stop law of one joint to rest; plain floats, because this is the gate's inner loop."""
        limits = self._limits
        T, jt, top = self._period_s, float(self._jt[j]), float(limits.acceleration[j])
        lower, upper = float(limits.lower[j]) - 1e-12, float(limits.upper[j]) + 1e-12
        for _ in range(_MAX_STOP_STEPS):
            if not lower <= q <= upper:
                return False
            if abs(v) < 1e-10 and abs(a) < 1e-6:
                return True
            y = abs(v) / T
            n = math.floor((math.sqrt(1.0 + 8.0 * y / jt) - 1.0) / 2.0)
            want = (y + jt * n * (n + 1) / 2.0) / (n + 1)
            want = -want if v > 0.0 else want
            a = max(-top, min(top, max(a - jt, min(a + jt, want))))
            v += a * T
            q += v * T
        return False

    def _latest_safe(self, j: int, brake_a: float, wanted_a: float, dt_s: float) -> float:
        """Acceleration of joint j between braking and the wanted one, as near the latter as can be stopped."""
        h2, _ = self._spans(dt_s)
        q, v = float(self._now.q[j]), float(self._now.v[j])
        safe, bad = 0.0, 1.0
        for _ in range(_BISECTIONS):
            mix = (safe + bad) / 2.0
            a = brake_a + mix * (wanted_a - brake_a)
            speed = v + a * h2
            if self._stops_inside(j, q + speed * dt_s, speed, a):
                safe = mix
            else:
                bad = mix
        return brake_a + safe * (wanted_a - brake_a)


def _inverse_ramp(y: F64, jt: F64) -> F64:
    """Acceleration whose fade to zero in steps of jt, itself included, sums to y."""
    n = np.floor((np.sqrt(1.0 + 8.0 * y / jt) - 1.0) / 2.0)
    a: F64 = (y + jt * n * (n + 1.0) / 2.0) / (n + 1.0)
    return a
