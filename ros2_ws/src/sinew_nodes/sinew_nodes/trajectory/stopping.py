"""A smooth stop within acceleration and jerk limits, as a function of time."""

import numpy as np

from sinew_hardware.interfaces import JointLimits
from sinew_hardware.planning.stream import stop_trajectory
from sinew_nodes.trajectory.path import JointSample


class Stop:
    """From `start` to rest; `at` stays at the final position for ever."""

    def __init__(self, start: JointSample, limits: JointLimits) -> None:
        self._plan = stop_trajectory(start.q, start.dq, start.ddq, limits=limits)

    @property
    def duration_s(self) -> float:
        return self._plan.duration_s

    def at(self, t_s: float) -> JointSample:
        plan = self._plan

        def value(rows: np.ndarray) -> np.ndarray:
            i = int(np.clip(np.searchsorted(plan.t_s, t_s), 1, len(plan.t_s) - 1))
            u = (t_s - plan.t_s[i - 1]) / (plan.t_s[i] - plan.t_s[i - 1])
            return rows[i - 1] + min(max(u, 0.0), 1.0) * (rows[i] - rows[i - 1])

        return JointSample(value(plan.q), value(plan.dq), value(plan.ddq))
