"""What the clear-table sequence needs from the world; the ROS side of each is in `clients.py`.

Every call is bounded in time and raises one of the errors named here; none returns a failure silently.
"""

from dataclasses import dataclass
from typing import Protocol

from sinew_hardware.planning.pick import PickPlan
from sinew_policies.common.errors import SinewError
from sinew_policies.common.types import F64, Grasp, GraspSet, PointCloud, Trajectory


class Cancelled(SinewError):
    """The goal was cancelled; the arm holds."""


class MotionFailed(SinewError):
    """The arm action ended without reaching its goal; the arm holds."""


class MotionBlocked(MotionFailed):
    """The arm left its tolerance, most likely because it met something; it holds where it stands."""


class NodeLost(SinewError):
    """A node that the task depends on does not answer. `node` names it."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(message)
        self.node = node


@dataclass(frozen=True)
class Scene:
    """One look at the workspace."""

    grasps: GraspSet
    cloud: PointCloud  # base_link frame, robot removed, cropped to the workspace


class Perception(Protocol):
    def look(self) -> Scene:
        """A scene whose image was exposed after this call. Raises NodeLost, CloudError, Cancelled."""
        ...


class PickPlanner(Protocol):
    def to_observe(self, q: F64) -> Trajectory: ...

    def plan_pick(self, q: F64, grasp: Grasp, cloud: PointCloud) -> PickPlan:
        """Raises Unreachable or NoPlan."""
        ...

    def cut_short(self, plan: PickPlan, q: F64) -> PickPlan:
        """The pick that closes the hand at q, where its approach was stopped.

        Raises NoPlan when that is too far from the grasp.
        """
        ...

    def to_bin(self, q: F64, drop_index: int) -> Trajectory: ...


class ArmPort(Protocol):
    def q(self) -> F64: ...

    def execute(self, trajectory: Trajectory, what: str, *, tolerance_rad: float | None = None) -> None:
        """Runs to the end. Raises MotionFailed, NodeLost, Cancelled; the arm holds after each.

        MotionBlocked as soon as a joint is off by more than `tolerance_rad` (None: the arm's own tolerance).
        """
        ...

    def hold(self) -> None: ...


class HandPort(Protocol):
    def open(self, width_m: float) -> None: ...

    def close(self) -> float:
        """Closes with the configured force until stalled; returns the total opening in metres."""
        ...

    def width_m(self) -> float: ...


class Watch(Protocol):
    def wait_until_back(self, node: str, timeout_s: float) -> bool:
        """True once the lost node answers again, False after the timeout. Raises Cancelled."""
        ...
