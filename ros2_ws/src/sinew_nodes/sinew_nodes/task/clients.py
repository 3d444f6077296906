"""The ports of the clear-table sequence over ROS: arm and hand actions, the grasp service.

All calls block the task's worker thread only; the executor goes on spinning.
"""

import contextlib
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from control_msgs.action import FollowJointTrajectory, ParallelGripperCommand
from control_msgs.msg import JointTolerance
from rclpy.action.client import ActionClient, ClientGoalHandle
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import JointState
from sinew_interfaces.srv import PlanGrasps

from sinew_nodes import convert, qos, topics
from sinew_nodes.action_goal import send_goal
from sinew_nodes.task.ports import MotionBlocked, MotionFailed, NodeLost, Scene
from sinew_nodes.task.waiting import Interrupt, rest, wait_for, wait_until
from sinew_policies.common.errors import CloudError, DeviceTimeout
from sinew_policies.common.types import F64, Trajectory

_ACCEPT_S = 3.0
_CANCEL_S = 2.0
_RESYNC_S = 0.6
_BLOCKED = (
    FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED,
    FollowJointTrajectory.Result.GOAL_TOLERANCE_VIOLATED,
)


class JointWatcher:
    """Newest position of every joint."""

    def __init__(self, node: LifecycleNode, names: tuple[str, ...]) -> None:
        self._node, self._names = node, names
        self._positions: dict[str, float] = {}
        self.subscription = node.create_subscription(
            JointState, topics.JOINT_STATES, self._on_state, qos.JOINT_STATES
        )

    def _on_state(self, message: JointState) -> None:
        self._positions.update(zip(message.name, message.position, strict=False))

    def destroy(self) -> None:
        self._node.destroy_subscription(self.subscription)

    def ready(self) -> bool:
        return all(n in self._positions for n in self._names)

    def positions(self, names: tuple[str, ...]) -> F64:
        """Positions (len(names),) in rad or m; all must have been heard of, see `ready`."""
        return np.array([self._positions[n] for n in names])

    def position(self, name: str) -> float:
        return self._positions[name]


class ArmClient:
    def __init__(self, node: LifecycleNode, joints: JointWatcher, names: tuple[str, ...]) -> None:
        self._node = node
        self._client: Any = ActionClient(node, FollowJointTrajectory, topics.FOLLOW_JOINT_TRAJECTORY)
        self._joints, self._names = joints, names
        self.interrupt = Interrupt()

    def destroy(self) -> None:
        self._client.destroy()

    def q(self) -> F64:
        wait_until(self._joints.ready, _ACCEPT_S, f"joint states on {topics.JOINT_STATES}", self.interrupt)
        return self._joints.positions(self._names)

    def execute(self, trajectory: Trajectory, what: str, *, tolerance_rad: float | None = None) -> None:
        if len(trajectory.t_s) < 2:
            return  # already there
        tight = (
            [] if tolerance_rad is None else [JointTolerance(name=n, position=tolerance_rad) for n in self._names]
        )
        goal = FollowJointTrajectory.Goal(
            trajectory=convert.trajectory_msg(trajectory, self._names),
            path_tolerance=tight,
            goal_time_tolerance=Duration(seconds=2.0).to_msg(),
        )
        result = run_goal(
            self._node,
            self._client,
            goal,
            timeout_s=5.0 + 4.0 * trajectory.duration_s,
            what=what,
            server="arm_node",
            interrupt=self.interrupt,
        )
        if result.error_code != FollowJointTrajectory.Result.SUCCESSFUL:
            # An arm that was pushed stands elsewhere than commanded. After a short rest the gate takes where it
            # stands for its last command; a plan made before would be refused as a jump, again and again.
            rest(_RESYNC_S, self.interrupt)
            fault = MotionBlocked if result.error_code in _BLOCKED else MotionFailed
            raise fault(f"{what}: {result.error_string} (error {result.error_code})")

    def hold(self) -> None:
        """The arm server holds by itself once its goal has ended; nothing is left to send."""


class HandClient:
    def __init__(self, node: LifecycleNode, joints: JointWatcher, *, force_n: float, speed_mps: float) -> None:
        self._node = node
        self._client: Any = ActionClient(node, ParallelGripperCommand, topics.GRIPPER_CMD)
        self._joints = joints
        self.interrupt = Interrupt()
        self._force_n, self._speed_mps = force_n, speed_mps

    def destroy(self) -> None:
        self._client.destroy()

    def open(self, width_m: float) -> None:
        self._command(width_m, f"open the hand to {width_m * 1e3:.0f} mm")

    def close(self) -> float:
        self._command(0.0, "close the hand")
        return self.width_m()

    def width_m(self) -> float:
        return self._joints.position("panda_finger_joint1") + self._joints.position("panda_finger_joint2")

    def _command(self, width_m: float, what: str) -> None:
        command = JointState(
            name=["panda_gripper"], position=[width_m], velocity=[self._speed_mps], effort=[self._force_n]
        )
        run_goal(
            self._node,
            self._client,
            ParallelGripperCommand.Goal(command=command),
            timeout_s=15.0,
            what=what,
            server="gripper_node",
            interrupt=self.interrupt,
        )


class PerceptionClient:
    def __init__(self, node: LifecycleNode, *, timeout_s: float) -> None:
        self._node = node
        self._client: Any = node.create_client(PlanGrasps, topics.PLAN_GRASPS)
        self._timeout_s = timeout_s
        self.interrupt = Interrupt()

    def destroy(self) -> None:
        self._node.destroy_client(self._client)

    def look(self) -> Scene:
        now: Time = self._node.get_clock().now().to_msg()
        try:
            wait_until(self._client.service_is_ready, _ACCEPT_S, "the grasp service", self.interrupt)
            request = PlanGrasps.Request(not_before=now, timeout_s=self._timeout_s)
            response = wait_for(
                self._client.call_async(request), self._timeout_s + 2.0, "the grasp service", self.interrupt
            )
        except DeviceTimeout as error:
            raise NodeLost("grasp_node", f"{topics.PLAN_GRASPS} does not answer: {error}") from error
        if response.error_code in (PlanGrasps.Response.NO_IMAGE, PlanGrasps.Response.NO_TRANSFORM):
            raise NodeLost("camera_node", response.error_msg)
        if response.error_code != PlanGrasps.Response.SUCCESS:  # an unusable cloud must not pass for an empty table
            raise CloudError(response.error_msg)
        return Scene(convert.grasp_set(response.grasps), convert.cloud(response.cloud))


def run_goal(
    node: LifecycleNode,
    client: Any,
    goal: object,
    *,
    timeout_s: float,
    what: str,
    server: str,
    interrupt: Interrupt,
) -> Any:
    """Sends one goal and waits for its result; cancels it when interrupted, so that the server holds.

    Raises MotionFailed when it is rejected or late, NodeLost when the server is not there, Cancelled.
    """
    interrupt.check()
    try:
        wait_until(client.server_is_ready, _ACCEPT_S, f"the action server of {server}", interrupt)
        handle: ClientGoalHandle = wait_for(send_goal(node, client, goal), _ACCEPT_S, server, interrupt)
    except DeviceTimeout as error:
        raise NodeLost(server, f"{what}: {error}") from error
    if not handle.accepted:
        raise MotionFailed(
            f"{what}: {server} refused the goal; its reason is in /safety/state and in the log of {server}"
        )
    result = handle.get_result_async()
    try:
        return wait_for(result, timeout_s, server, interrupt).result
    except BaseException as error:
        _cancel(handle)
        if isinstance(error, DeviceTimeout):
            raise MotionFailed(f"{what}: {error}") from error
        raise


def _cancel(handle: ClientGoalHandle) -> None:
    """Asks for the cancel and waits for the answer, whatever the interrupt says: the arm must be told."""
    with contextlib.suppress(DeviceTimeout):  # a server that is gone too holds the arm by its own watchdog
        wait_for(handle.cancel_goal_async(), _CANCEL_S, "the cancel request", Interrupt())
