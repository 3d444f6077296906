"""Follows trajectory goals tick by tick: one runs, a newer one replaces it, a cancelled one stops smoothly.

`tick` is called by one thread (the control loop); `submit`, `cancel` and `halt` by any.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from sinew_hardware.interfaces import JointLimits
from sinew_nodes.trajectory.path import JointSample, Motion
from sinew_nodes.trajectory.stopping import Stop
from sinew_policies.common.types import F64

UNLIMITED = np.inf
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
    _ended: bool = field(default=False, repr=False)


class TrajectoryController:
    def __init__(self, names: tuple[str, ...], limits: JointLimits) -> None:
        self._names = names
        self._limits = limits
        self._lock = threading.RLock()
        self._goal: Goal | None = None
        self._stop: Stop | None = None
        self._stop_t_s = 0.0
        self._last: JointSample | None = None

    @property
    def mode(self) -> str:
        with self._lock:
            return "trajectory" if self._goal is not None else "hold" if self._stop is not None else "idle"

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
            if last is None or (self.mode == "idle" and np.abs(last.q - measured_q).max() > _DEVIATION_RAD):
                zero = np.zeros_like(measured_q)
                return JointSample(measured_q.copy(), zero, zero)
            return last

    def submit(self, goal: Goal) -> None:
        """Starts `goal` at the next tick; a running one ends as PREEMPTED."""
        with self._lock:
            self._end(Outcome.PREEMPTED, "a newer goal took over")
            self._goal, self._stop = goal, None
            self._last = goal.motion.at(0.0)

    def cancel(self, goal: Goal) -> None:
        """Begins the smooth stop of `goal`; it ends as CANCELED when the arm rests."""
        self._halt(goal, Outcome.CANCELED, "cancelled")

    def halt(self, reason: str) -> None:
        """Begins a smooth stop whatever runs; the goal ends at once as HALTED with `reason`."""
        with self._lock:
            if self._goal is not None:
                self._begin_stop()
                self._end(Outcome.HALTED, reason)

    def follow_on(self, sent: F64) -> None:
        """Tells what the gate really let through, so that a later stop starts from there."""
        with self._lock:
            if self._last is not None:
                self._last = JointSample(sent, self._last.dq, self._last.ddq)

    def drop(self, reason: str) -> None:
        """Ends goal and stop at once without further samples: the driver holds, or is switched off."""
        with self._lock:
            self._end(Outcome.HALTED, reason)
            self._stop = self._last = None

    def tick(self, dt_s: float, measured_q: F64, measured_dq: F64) -> JointSample | None:
        """The next command, None while the arm idles. `dt_s`: time since the last tick."""
        with self._lock:
            if self._stop is not None:
                return self._tick_stop(dt_s)
            if self._goal is not None:
                return self._tick_goal(self._goal, dt_s, measured_q, measured_dq)
            return None

    def _tick_stop(self, dt_s: float) -> JointSample | None:
        assert self._stop is not None
        self._stop_t_s += dt_s
        self._last = self._stop.at(self._stop_t_s)
        if self._stop_t_s >= self._stop.duration_s:
            self._stop = None
            self._end(Outcome.CANCELED, "cancelled; the arm holds")
        return self._last

    def _tick_goal(self, goal: Goal, dt_s: float, q: F64, dq: F64) -> JointSample | None:
        if goal.delay_s > 0.0:
            goal.delay_s -= dt_s
            return self._last
        tol = goal.tolerances
        if self._last is not None and goal.elapsed_s > 0.0:
            fault = _violation(self._names, self._last.q - q, tol.path_rad, "rad") or _violation(
                self._names, self._last.dq - dq, tol.path_rad_s, "rad/s"
            )
            if fault:
                self._begin_stop()
                self._end(
                    Outcome.PATH_TOLERANCE, f"at {goal.elapsed_s:.2f} s of {goal.motion.duration_s:.2f} s: {fault}"
                )
                return self._tick_stop(dt_s)
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
                self._end(Outcome.DONE, "")
            elif late_s > tol.goal_time_s:
                self._end(Outcome.GOAL_TOLERANCE, f"{late_s:.2f} s after its end: {fault}")
        return wanted

    def _halt(self, goal: Goal, outcome: Outcome, reason: str) -> None:
        with self._lock:
            if goal is self._goal and self._stop is None:
                if self._last is None:
                    self._end(outcome, reason)
                else:
                    self._begin_stop()

    def _begin_stop(self) -> None:
        if self._last is not None and self._stop is None:
            self._stop, self._stop_t_s = Stop(self._last, self._limits), 0.0

    def _end(self, outcome: Outcome, reason: str) -> None:
        goal, self._goal = self._goal, None
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
