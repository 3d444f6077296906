"""Ruckig on line: streamed joint targets and the stop, both inside velocity, acceleration and jerk limits."""

import numpy as np
import ruckig

from sinew_hardware.interfaces import JointLimits
from sinew_hardware.models.panda import LIMITS
from sinew_hardware.planning.trajectory import PERIOD_S
from sinew_policies.common.errors import DataError, PlanningError
from sinew_policies.common.types import F64, Trajectory

# Sampling and rounding must not push a motion that rides on its limit over it.
_INSIDE = 0.999


class JointStream:
    """Follows joint targets that may change at any time: one smooth, limited sample per `step`."""

    def __init__(
        self, q: F64, *, limits: JointLimits = LIMITS, scale: float = 1.0, period_s: float = PERIOD_S
    ) -> None:
        """Starts at rest at q (J,) rad."""
        self._limits = limits
        dof = len(limits.lower)
        self._otg = ruckig.Ruckig(dof, period_s)
        self._input = ruckig.InputParameter(dof)
        self._output = ruckig.OutputParameter(dof)
        self._input.max_velocity = (limits.velocity * scale * _INSIDE).tolist()
        self._input.max_acceleration = (limits.acceleration * scale * _INSIDE).tolist()
        self._input.max_jerk = (limits.jerk * scale * _INSIDE).tolist()
        self._input.current_position = _vector(q, dof, "start").tolist()
        self._input.current_velocity = [0.0] * dof
        self._input.current_acceleration = [0.0] * dof
        self._input.target_velocity = [0.0] * dof
        self._input.target_acceleration = [0.0] * dof
        self.set_target(q)

    def set_target(self, q: F64) -> None:
        """New target (J,) rad; clipped into the position limits. Raises DataError when not finite."""
        target = _vector(q, len(self._limits.lower), "target")
        self._input.control_interface = ruckig.ControlInterface.Position
        self._input.target_position = np.clip(target, self._limits.lower, self._limits.upper).tolist()
        self._input.target_velocity = [0.0] * len(target)

    def set_velocity(self, dq: F64) -> None:
        """Moves at the joint velocity dq (J,) rad/s until told otherwise; position limits are the gate's."""
        target = _vector(dq, len(self._limits.lower), "velocity")
        self._input.control_interface = ruckig.ControlInterface.Velocity
        bound = np.asarray(self._input.max_velocity)
        self._input.target_velocity = np.clip(target, -bound, bound).tolist()

    def step(self) -> tuple[F64, F64, F64]:
        """Advances one period; returns position, velocity and acceleration (J,)."""
        result = self._otg.update(self._input, self._output)
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            raise PlanningError(f"joint stream cannot continue: ruckig says {result}; stop and start again")
        self._output.pass_to_input(self._input)
        return (
            np.array(self._output.new_position),
            np.array(self._output.new_velocity),
            np.array(self._output.new_acceleration),
        )


def stop_trajectory(
    q: F64, dq: F64, ddq: F64, *, limits: JointLimits = LIMITS, period_s: float = PERIOD_S
) -> Trajectory:
    """Fastest stop of every joint on its own from a moving state (J,); the first sample is that state.

    Velocity and acceleration above the limits at the start are brought inside first. Raises DataError for
    values that are not finite.
    """
    dof = len(limits.lower)
    q, dq, ddq = (_vector(v, dof, n) for v, n in ((q, "position"), (dq, "velocity"), (ddq, "acceleration")))
    request = ruckig.InputParameter(dof)
    request.control_interface = ruckig.ControlInterface.Velocity
    request.synchronization = ruckig.Synchronization.No
    request.current_position = q.tolist()
    request.current_velocity = dq.tolist()
    request.current_acceleration = ddq.tolist()
    request.target_velocity = [0.0] * dof
    request.target_acceleration = [0.0] * dof
    request.max_velocity = (limits.velocity * _INSIDE).tolist()
    request.max_acceleration = (limits.acceleration * _INSIDE).tolist()
    request.max_jerk = (limits.jerk * _INSIDE).tolist()
    plan = ruckig.Trajectory(dof)
    result = ruckig.Ruckig(dof, period_s).calculate(request, plan)
    if result not in (ruckig.Result.Working, ruckig.Result.Finished):
        raise PlanningError(f"no stop from velocity {dq.tolist()}: ruckig says {result}")
    count = int(np.ceil(plan.duration / period_s)) + 2
    times = np.asarray(np.arange(count) * period_s, np.float64)
    samples = np.array([plan.at_time(min(float(t), plan.duration))[:3] for t in times])  # (T, 3, J)
    samples[times >= plan.duration, 1:] = 0.0
    return Trajectory(times, samples[:, 0], samples[:, 1], samples[:, 2])


def _vector(values: F64, dof: int, what: str) -> F64:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (dof,) or not np.all(np.isfinite(array)):
        raise DataError(f"{what} is {array.tolist()}; expected {dof} finite numbers")
    return array
