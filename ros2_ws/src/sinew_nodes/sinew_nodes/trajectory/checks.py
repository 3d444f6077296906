"""What a trajectory must satisfy before the arm moves. Each refusal names joint, value, limit and time."""

import numpy as np

from sinew_hardware.interfaces import JointLimits
from sinew_hardware.safety.limiter import JointLimiter, Step
from sinew_nodes.trajectory.path import JointPath, JointSample, Motion
from sinew_policies.common.errors import CommandRejected

_SLACK = 1.02  # sampling and the quintic between exact knots overshoot a planner's limits a little
_REST_RAD_S = 0.01
_MAX_BENT_SAMPLES = 15  # the gate latches after 20


def check_start(path: JointPath, start: JointSample, names: tuple[str, ...], tolerance_rad: float) -> None:
    """Raises CommandRejected when the first point, due at once, is not where the arm is or goes."""
    if path.t_s[0] > 0.0:
        return
    error = path.q[0] - start.q
    worst = int(np.argmax(np.abs(error)))
    if abs(error[worst]) > tolerance_rad:
        raise CommandRejected(
            "start",
            f"trajectory starts at {path.q[0][worst]:.4f} rad for '{names[worst]}' but the arm is at "
            f"{start.q[worst]:.4f} rad (off by {error[worst]:+.4f}, allowed {tolerance_rad}); plan from the "
            "current state or give the first point a time_from_start above 0",
        )
    given = path.dq[0] if path.dq is not None else start.dq
    jump = given - start.dq
    worst = int(np.argmax(np.abs(jump)))
    if abs(jump[worst]) > 0.1:
        raise CommandRejected(
            "start",
            f"trajectory starts with {given[worst]:.3f} rad/s for '{names[worst]}' but the arm moves at "
            f"{start.dq[worst]:.3f} rad/s; wait until it rests or plan from its motion",
        )


def check_limits(
    motion: Motion, path: JointPath, limits: JointLimits, names: tuple[str, ...], period_s: float
) -> None:
    """Raises CommandRejected when the motion leaves position, velocity or acceleration limits or ends moving."""
    t, q, dq, ddq = motion.sampled(period_s)
    low, high = q < limits.lower, q > limits.upper
    if low.any() or high.any():
        i, j = np.argwhere(low | high)[0]
        raise CommandRejected(
            "position",
            f"'{names[j]}' would be at {q[i, j]:.4f} rad at {t[i]:.2f} s; "
            f"allowed {limits.lower[j]:.4f} to {limits.upper[j]:.4f} rad",
        )
    for what, unit, values, most in (
        ("velocity", "rad/s", dq, limits.velocity),
        ("acceleration", "rad/s²", ddq, limits.acceleration),
    ):
        over = np.abs(values) > most * _SLACK
        if over.any():
            i, j = np.argwhere(over)[0]
            raise CommandRejected(
                what,
                f"'{names[j]}' would need {values[i, j]:.2f} {unit} at {t[i]:.2f} s; allowed "
                f"±{most[j]:.2f} {unit}; give the trajectory more time",
            )
    if path.dq is not None:
        worst = int(np.argmax(np.abs(path.dq[-1])))
        if abs(path.dq[-1][worst]) > _REST_RAD_S:
            raise CommandRejected(
                "end",
                f"trajectory ends with {path.dq[-1][worst]:.3f} rad/s for '{names[worst]}'; it must end at rest",
            )


def check_smooth(
    motion: Motion, start: JointSample, limits: JointLimits, names: tuple[str, ...], period_s: float
) -> None:
    """Raises CommandRejected for a motion that the gate would have to bend for longer than a moment.

    Corners in velocity or acceleration, as between the points of a trajectory without accelerations, are
    rounded by the gate within a few samples; a whole motion beyond the limits would end in its latch.
    """
    t = np.arange(period_s, motion.duration_s + 0.5 * period_s, period_s)
    samples = [motion.at(float(x)) for x in t]
    ddq = np.array([start.ddq, *(s.ddq for s in samples)])
    if np.all(np.abs(np.diff(ddq, axis=0)) <= limits.jerk * period_s):
        return
    limiter = JointLimiter(limits, period_s)
    limiter.reset(start.q)
    limiter.commit(Step(start.q, start.dq, start.ddq), period_s)
    in_row = 0
    for x, sample in zip(t, samples, strict=True):
        step = limiter.follow(sample.q, period_s)
        if limiter.feasible(step, period_s):
            in_row = 0
        else:
            step = limiter.clamp(sample.q, period_s)
            in_row += 1
        limiter.commit(step, period_s)
        if in_row >= _MAX_BENT_SAMPLES:
            worst = int(np.argmax(np.abs(step.q - sample.q)))
            raise CommandRejected(
                "jerk",
                f"'{names[worst]}' cannot follow at {x:.2f} s within {limits.acceleration[worst]:.1f} rad/s² and "
                f"{limits.jerk[worst]:.0f} rad/s³; give the points velocities and accelerations, or "
                "more time",
            )
