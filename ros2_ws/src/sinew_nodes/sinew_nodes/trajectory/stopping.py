"""Smooth stops within acceleration and jerk limits, time-optimal by Ruckig."""

import numpy as np
from ruckig import ControlInterface, InputParameter, Result, Ruckig
from ruckig import Trajectory as RuckigTrajectory

from sinew_hardware.interfaces import JointLimits
from sinew_nodes.trajectory.path import JointSample
from sinew_policies.common.errors import PlanningError


class Stop:
    """From `start` to rest; `at` holds the final position for ever."""

    def __init__(self, start: JointSample, limits: JointLimits) -> None:
        joints = len(start.q)
        problem = InputParameter(joints)
        problem.control_interface = ControlInterface.Velocity
        problem.current_position = start.q.tolist()
        problem.current_velocity = start.dq.tolist()
        problem.current_acceleration = np.clip(start.ddq, -limits.acceleration, limits.acceleration).tolist()
        problem.target_velocity = [0.0] * joints
        problem.target_acceleration = [0.0] * joints
        problem.max_acceleration = limits.acceleration.tolist()
        problem.max_jerk = limits.jerk.tolist()
        self._curve = RuckigTrajectory(joints)
        result = Ruckig(joints).calculate(problem, self._curve)
        if result not in (Result.Working, Result.Finished):
            raise PlanningError(f"no stop from velocity {start.dq.round(3).tolist()} rad/s: Ruckig says {result}")

    @property
    def duration_s(self) -> float:
        return float(self._curve.duration)

    def at(self, t_s: float) -> JointSample:
        q, dq, ddq = self._curve.at_time(min(max(t_s, 0.0), self.duration_s))
        return JointSample(np.array(q), np.array(dq), np.array(ddq))
