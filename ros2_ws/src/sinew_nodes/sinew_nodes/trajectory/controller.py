"""Follows trajectory goals tick by tick: one runs, a newer one replaces it.

`tick` and `sent` are called by one thread (the control loop); `submit`, `cancel` and `drop` by any.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import numpy as np

from sinew_nodes.trajectory.path import JointSample, Motion
from sinew_policies.common.types import F64

_DEVIATION_RAD = 0.05  # an idle arm further than this from the last command was moved by something else


class Outcome(Enum):
    DONE = "done"
    CANCELED = "canceled"
    PREEMPTED = "preempted"
    PATH_TOLERANCE = "path tolerance"
    GOAL_TOLERANCE = "goal tolerance"
    HALTED = "halted"


@dataclass(frozen=True)
class Tolerances:
    """Shape (J,) each, rad and rad/s; infinite where nothing is asked."""

    path_rad: F64
    goal_rad: F64
    path_rad_s: F64
    goal_rad_s: F64
    goal_time_s: float


@dataclass(frozen=True)
class Progress:
    """Where a running goal is."""

    t_s: float
    desired: JointSample
    actual_q: F64
    actual_dq: F64


@dataclass
class Goal:
    motion: Motion
    tolerances: Tolerances
    on_end: Callable[[Outcome, str], None]
    delay_s: float = 0.0  # until the start stamp
    elapsed_s: float = 0.0
    progress: Progress | None = None


class TrajectoryController:
    """Gives wanted samples. It never brakes: where it gives none, the gate decelerates to hold."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._lock = threading.RLock()
        self._goal: Goal | None = None
        self._canceling = False
        self._moving = False
        self._last: JointSample | None = None
        self._due: tuple[Outcome, str] | None = None  # an end that waits until its last sample is sent

    @property
    def mode(self) -> str:
        with self._lock:
            following = self._goal is not None and not self._canceling
            return "trajectory" if following else "hold" if self._moving else "idle"

    @property
    def goal(self) -> Goal | None:
        with self._lock:
            return self._goal

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """No tick happens inside: what `reference` says stays true until `submit`."""
        with self._lock:
            yield

    def reference(self, measured_q: F64) -> JointSample:
        """The state that the next motion continues: the last command, or the measured one after a disturbance."""
        with self._lock:
            last = self._last
            if last is None or (not self._moving and np.abs(last.q - measured_q).max() > _DEVIATION_RAD):
                zero = np.zeros_like(measured_q)
                return JointSample(measured_q.copy(), zero, zero)
            return last

    def submit(self, goal: Goal) -> None:
        """Starts `goal` at the next tick; a running one ends as PREEMPTED."""
        with self._lock:
            self._end(Outcome.PREEMPTED, "a newer goal took over")
            self._goal, self._canceling = goal, False

    def cancel(self, goal: Goal) -> None:
        """No more samples for `goal`; it ends as CANCELED when the arm has come to rest."""
        with self._lock:
            if goal is self._goal:
                self._canceling = True

    def drop(self, reason: str) -> None:
        """Ends the goal at once as HALTED with `reason`."""
        with self._lock:
            self._end(Outcome.HALTED, reason)

    def forget(self) -> None:
        """After a pause the arm may stand anywhere."""
        with self._lock:
            self._last, self._moving = None, False

    def sent(self, q: F64, dt_s: float, *, altered: bool, at_rest: bool) -> None:
        """What really went to the arm in this tick; a stop or the next goal continues from there."""
        with self._lock:
            self._moving = not at_rest
            if self._due is not None:
                self._end(*self._due)
            if at_rest:
                zero = np.zeros_like(q)
                self._last = JointSample(q, zero, zero)
                if self._canceling:
                    self._end(Outcome.CANCELED, "cancelled; the arm holds")
            elif altered and self._last is not None and dt_s > 0.0:
                dq = (q - self._last.q) / dt_s
                self._last = JointSample(q, dq, (dq - self._last.dq) / dt_s)

    def tick(self, dt_s: float, measured_q: F64, measured_dq: F64) -> JointSample | None:
        """The wanted sample of this period, None when there is none. `dt_s`: time since the last tick."""
        with self._lock:
            goal = self._goal
            if goal is None or self._canceling:
                return None
            if goal.delay_s > 0.0:
                goal.delay_s -= dt_s
                return None
            return self._follow(goal, dt_s, measured_q, measured_dq)

    def _follow(self, goal: Goal, dt_s: float, q: F64, dq: F64) -> JointSample | None:
        tol = goal.tolerances
        if self._last is not None and goal.elapsed_s > 0.0:
            fault = _violation(self._names, self._last.q - q, tol.path_rad, "rad") or _violation(
                self._names, self._last.dq - dq, tol.path_rad_s, "rad/s"
            )
            if fault:
                where = f"at {goal.elapsed_s:.2f} s of {goal.motion.duration_s:.2f} s"
                self._end(Outcome.PATH_TOLERANCE, f"path tolerance violated {where}: {fault}")
                return None
        goal.elapsed_s += dt_s
        wanted = goal.motion.at(goal.elapsed_s)
        self._last = wanted
        goal.progress = Progress(goal.elapsed_s, wanted, q, dq)
        late_s = goal.elapsed_s - goal.motion.duration_s
        if late_s >= 0.0:
            fault = _violation(self._names, goal.motion.goal - q, tol.goal_rad, "rad") or _violation(
                self._names, -dq, tol.goal_rad_s, "rad/s"
            )
            if not fault:
                self._due = (Outcome.DONE, "")
            elif late_s > tol.goal_time_s:
                self._due = (
                    Outcome.GOAL_TOLERANCE,
                    f"goal tolerance violated {late_s:.2f} s after the end: {fault}",
                )
        return wanted

    def _end(self, outcome: Outcome, reason: str) -> None:
        goal, self._goal, self._canceling, self._due = self._goal, None, False, None
        if goal is not None:
            goal.on_end(outcome, reason)


def _violation(names: tuple[str, ...], error: F64, tolerance: F64, unit: str) -> str:
    """Empty, or the signed errors of all joints with the worst named."""
    over = np.abs(error) > tolerance
    if not over.any():
        return ""
    worst = int(np.argmax(np.where(over, np.abs(error) / np.maximum(tolerance, 1e-12), 0.0)))
    listed = ", ".join(f"{n} {e:+.4f}" for n, e in zip(names, error, strict=True))
    return (
        f"'{names[worst]}' is off by {error[worst]:+.4f} {unit} (allowed ±{tolerance[worst]:.4f}); "
        f"errors desired minus actual in {unit}: {listed}"
    )
