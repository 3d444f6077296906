"""The arm node over an ideal arm: every way a trajectory goal can go, lease, latch, and what reaches the driver."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import FollowJointTrajectory
from control_msgs.msg import JointTolerance
from ros_fakes.devices import FakeArm
from sensor_msgs.msg import JointState
from sinew_interfaces.msg import SafetyState
from sinew_interfaces.srv import AcquireLease, ReleaseLease
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectoryPoint

from sinew_hardware.models.panda import HOME_Q, JOINT_NAMES, LIMITS
from sinew_nodes import convert, qos, topics
from sinew_nodes.arm_node import ArmNode
from sinew_policies.common.errors import DeviceError
from sinew_policies.common.types import F64

pytestmark = pytest.mark.ros
Result = FollowJointTrajectory.Result
Change = Callable[[FollowJointTrajectory.Goal], object]


@pytest.fixture
def arm() -> FakeArm:
    return FakeArm()


@pytest.fixture
def node(graph: Any, arm: FakeArm) -> ArmNode:
    node: ArmNode = graph.add(ArmNode(make=lambda _: arm))
    node.trigger_configure()
    node.trigger_activate()
    graph.wait(lambda: node.state is not None, "the first arm state")
    return node


@pytest.fixture
def action(graph: Any, node: ArmNode) -> Any:
    return graph.action(FollowJointTrajectory, topics.FOLLOW_JOINT_TRAJECTORY)


def goal_to(q: F64, t_s: float, claim: str = "") -> FollowJointTrajectory.Goal:
    goal = FollowJointTrajectory.Goal()
    goal.trajectory.header.frame_id = claim
    goal.trajectory.joint_names = list(JOINT_NAMES)
    point = JointTrajectoryPoint(positions=q.tolist())
    point.time_from_start = convert.duration_msg(t_s)
    goal.trajectory.points = [point]
    return goal


def assert_smooth(arm: FakeArm) -> None:
    """What reached the driver respects velocity and acceleration limits, tick by tick."""
    q = np.array([q for _, q in arm.log])
    dq = np.diff(q, axis=0) / 0.01
    assert np.all(np.abs(dq) <= LIMITS.velocity * 1.001)
    assert np.all(np.abs(np.diff(dq, axis=0) / 0.01) <= LIMITS.acceleration * 1.001)


def test_goal_with_feedback_and_joint_states_at_100_hz(graph: Any, action: Any, arm: FakeArm) -> None:
    states = graph.listen(JointState, topics.JOINT_STATES, qos.JOINT_STATES)
    target = HOME_Q + 0.3
    start = time.monotonic()
    end = action.run(goal_to(target, 1.0))
    took = time.monotonic() - start
    assert (end.status, end.result.error_code) == (GoalStatus.STATUS_SUCCEEDED, Result.SUCCESSFUL)
    assert np.allclose(arm.q, target, atol=1e-4)  # on a loaded machine the last tick follows the result
    assert 0.9 < took < 2.0
    assert len(states) > 70 * took
    assert len(action.feedback) >= 8
    feedback = action.feedback[-1].feedback
    assert list(feedback.joint_names) == list(JOINT_NAMES)
    assert np.allclose(feedback.error.positions, 0.0, atol=0.02)
    assert_smooth(arm)


def test_cancel_while_a_100_hz_subscription_goes_on(graph: Any, node: ArmNode, action: Any, arm: FakeArm) -> None:
    heard: list[Any] = []
    node.create_subscription(JointState, "fast", heard.append, qos.JOINT_STATES)
    fast = graph.client.create_publisher(JointState, "fast", qos.JOINT_STATES)
    timer = graph.client.create_timer(0.01, lambda: fast.publish(JointState()))
    handle = action.send(goal_to(HOME_Q + 0.5, 2.0))
    graph.wait(lambda: len(arm.log) > 60, "motion")
    before, feedback = len(heard), len(action.feedback)
    start = time.monotonic()
    graph.result(handle.cancel_goal_async(), "cancel")
    end = action.end(handle)
    stopped_s = time.monotonic() - start
    timer.cancel()
    assert end.status == GoalStatus.STATUS_CANCELED
    assert stopped_s < 0.6
    assert feedback > 5
    assert before > 40, "the action kept the executor from a 100 Hz subscription"
    assert 0.05 < arm.q[0] < 0.45
    assert_smooth(arm)


def test_a_newer_goal_takes_over_without_a_jump(graph: Any, action: Any, arm: FakeArm) -> None:
    first = action.send(goal_to(HOME_Q + 0.5, 2.0))
    graph.wait(lambda: len(arm.log) > 60, "motion")
    second = action.send(goal_to(HOME_Q + 0.2, 1.5))
    end = action.end(first)
    assert end.status == GoalStatus.STATUS_ABORTED
    assert "newer goal" in end.result.error_string
    assert action.end(second).result.error_code == Result.SUCCESSFUL
    assert np.allclose(arm.q, HOME_Q + 0.2, atol=1e-6)
    assert_smooth(arm)


def _set(path: str, value: object) -> Change:
    def change(goal: FollowJointTrajectory.Goal) -> None:
        target: Any = goal
        *parents, last = path.split(".")
        for name in parents:
            target = target[int(name)] if name.isdigit() else getattr(target, name)
        setattr(target, last, value)

    return change


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (_set("trajectory.joint_names", ["panda_joint1"]), Result.INVALID_JOINTS, "missing"),
        (
            _set("trajectory.joint_names", ["panda_jiont1", *JOINT_NAMES[1:]]),
            Result.INVALID_JOINTS,
            "did you mean 'panda_joint1'",
        ),
        (_set("trajectory.points.0.positions", [0.0] * 6), Result.INVALID_GOAL, "6 positions for 7 joints"),
        (_set("trajectory.points.0.positions", [float("nan")] * 7), Result.INVALID_GOAL, "finite"),
        (_set("trajectory.points.0.positions", [9.0] * 7), Result.INVALID_GOAL, "would be at"),
        (_set("trajectory.points.0.time_from_start", convert.duration_msg(0.05)), Result.INVALID_GOAL, "more time"),
        (_set("trajectory.points.0.velocities", [float("inf")] * 7), Result.INVALID_GOAL, "velocity inf"),
        (_set("trajectory.points.0.velocities", [0.0] * 6), Result.INVALID_GOAL, "6 velocities for 7 joints"),
        (_set("trajectory.points.0.positions", [0.0] * 8), Result.INVALID_GOAL, "8 positions for 7 joints"),
        (
            _set("trajectory.joint_names", [*JOINT_NAMES[:6], JOINT_NAMES[0]]),
            Result.INVALID_JOINTS,
            "missing ['panda_joint7']",
        ),
        (_set("trajectory.points.0.time_from_start", convert.duration_msg(1e6)), Result.INVALID_GOAL, "in parts"),
        (_set("trajectory.points.0.time_from_start", convert.duration_msg(-1.0)), Result.INVALID_GOAL, ">= 0"),
        (
            _set("trajectory.header.stamp", convert.stamp_msg(2**31 * 10**9 - 1)),
            Result.INVALID_GOAL,
            "check the clocks",
        ),
        (_set("trajectory.points", []), Result.INVALID_GOAL, "no points"),
        (_set("trajectory.header.stamp", convert.stamp_msg(5)), Result.OLD_HEADER_TIMESTAMP, "s ago"),
        (
            _set("path_tolerance", [JointTolerance(name="elbow")]),
            Result.INVALID_GOAL,
            "tolerance names joint 'elbow'",
        ),
    ],
)
def test_bad_goals_are_answered_and_nothing_moves(
    action: Any, arm: FakeArm, change: Change, code: int, text: str
) -> None:
    goal = goal_to(HOME_Q + 0.3, 1.0)
    change(goal)
    end = action.run(goal)
    assert end.status == GoalStatus.STATUS_ABORTED
    assert end.result.error_code == code
    assert text in end.result.error_string
    assert arm.log == []


def test_a_bad_goal_leaves_the_running_one_alone(graph: Any, action: Any, arm: FakeArm) -> None:
    running = action.send(goal_to(HOME_Q + 0.2, 1.0))
    graph.wait(lambda: len(arm.log) > 20, "motion")
    assert action.run(goal_to(HOME_Q + 9.0, 1.0)).result.error_code == Result.INVALID_GOAL
    assert action.end(running).result.error_code == Result.SUCCESSFUL


def test_tolerance_violations_report_signed_errors(action: Any, arm: FakeArm) -> None:
    arm.blocked = True
    goal = goal_to(HOME_Q + 0.3, 1.0)
    goal.path_tolerance = [JointTolerance(name="panda_joint3", position=0.02)]
    end = action.run(goal)
    assert end.result.error_code == Result.PATH_TOLERANCE_VIOLATED
    assert "'panda_joint3' is off by +0.0" in end.result.error_string
    goal = goal_to(HOME_Q + 0.05, 0.5)
    goal.goal_time_tolerance = convert.duration_msg(0.2)
    end = action.run(goal)
    assert end.result.error_code == Result.GOAL_TOLERANCE_VIOLATED
    assert "+0.0500" in end.result.error_string


def acquire(graph: Any, holder: str, priority: int) -> AcquireLease.Response:
    return graph.call(AcquireLease, topics.SAFETY_ACQUIRE, AcquireLease.Request(holder=holder, priority=priority))


def test_the_lease_keeps_others_out_and_a_higher_one_takes_over(graph: Any, action: Any, arm: FakeArm) -> None:
    states = graph.listen(SafetyState, topics.SAFETY_STATE, qos.LATCHED)
    assert acquire(graph, "jogger", 1).granted
    refused = acquire(graph, "other", 1)
    assert (refused.granted, refused.current_holder, refused.error_code) == (False, "jogger", 1201)
    end = action.run(goal_to(HOME_Q + 0.1, 1.0))
    assert end.result.error_code == Result.INVALID_GOAL
    assert "'jogger' holds the lease" in end.result.error_string
    assert arm.log == []
    running = action.send(goal_to(HOME_Q + 0.4, 2.0, claim="jogger"))
    graph.wait(lambda: len(arm.log) > 40, "motion of the holder's goal")
    assert acquire(graph, "operator", 3).granted
    end = action.end(running)
    assert "'operator' holds the lease" in end.result.error_string
    graph.wait(lambda: states and states[-1].mode == "idle", "hold")
    assert_smooth(arm)
    bad = graph.call(ReleaseLease, topics.SAFETY_RELEASE, ReleaseLease.Request(holder="jogger"))
    assert (bad.released, bad.error_code) == (False, 1211)
    assert graph.call(ReleaseLease, topics.SAFETY_RELEASE, ReleaseLease.Request(holder="operator")).released
    assert acquire(graph, "x", 9).error_code == 1203


def test_a_goal_holds_a_policy_lease_for_its_duration(graph: Any, action: Any, arm: FakeArm) -> None:
    states = graph.listen(SafetyState, topics.SAFETY_STATE, qos.LATCHED)
    handle = action.send(goal_to(HOME_Q + 0.1, 1.0))
    graph.wait(lambda: states and states[-1].lease_holder == topics.ARM_HOLDER, "the goal's lease")
    assert states[-1].mode == "trajectory"
    assert acquire(graph, "other", 1).current_holder == topics.ARM_HOLDER
    action.end(handle)
    graph.wait(lambda: states[-1].lease_holder == "", "the lease's end")


@pytest.mark.parametrize("by", ["service", "topic"])
def test_emergency_stop_latches_until_reset(graph: Any, action: Any, arm: FakeArm, by: str) -> None:
    states = graph.listen(SafetyState, topics.SAFETY_STATE, qos.LATCHED)
    estop = graph.client.create_publisher(Bool, topics.SAFETY_ESTOP, qos.COMMAND)
    graph.wait(lambda: estop.get_subscription_count() > 0, "the arm node's subscription")
    handle = action.send(goal_to(HOME_Q + 0.5, 2.0))
    graph.wait(lambda: len(arm.log) > 60, "motion")
    if by == "service":
        assert graph.call(Trigger, topics.SAFETY_TRIP, Trigger.Request()).success
    else:
        estop.publish(Bool(data=True))
    end = action.end(handle)
    assert end.status == GoalStatus.STATUS_ABORTED
    assert "emergency stop" in end.result.error_string
    graph.wait(lambda: states and states[-1].estopped and states[-1].mode == "idle", "hold")
    assert_smooth(arm)
    estop.publish(Bool(data=False))
    sent = len(arm.log)
    end = action.run(goal_to(HOME_Q, 2.0))
    assert "emergency stop is latched" in end.result.error_string
    assert len(arm.log) == sent, "a latched arm moved"
    assert graph.call(Trigger, topics.SAFETY_RESET, Trigger.Request()).success
    assert action.run(goal_to(HOME_Q, 2.0)).result.error_code == Result.SUCCESSFUL


def test_a_lost_arm_ends_the_goal_and_recovers(graph: Any, node: ArmNode, action: Any, arm: FakeArm) -> None:
    handle = action.send(goal_to(HOME_Q + 0.5, 2.0))
    graph.wait(lambda: len(arm.log) > 30, "motion")
    arm.fault = DeviceError("cable unplugged")
    end = action.end(handle)
    assert "cable unplugged" in end.result.error_string
    sent = len(arm.log)
    arm.fault = None
    assert action.run(goal_to(HOME_Q, 2.0)).result.error_code == Result.SUCCESSFUL
    assert len(arm.log) > sent


CLIENT = """
import sys, rclpy, time
from rclpy.action.client import ActionClient
from sinew_nodes.base import SinewNode
from dataclasses import dataclass
from control_msgs.action import FollowJointTrajectory
from rclpy.serialization import deserialize_message
@dataclass(frozen=True)
class C: pass
class N(SinewNode):
    config_type = C
rclpy.init()
node = N("doomed_client")
client = ActionClient(node, FollowJointTrajectory, "arm_controller/follow_joint_trajectory")
assert client.wait_for_server(10)
goal = deserialize_message(bytes.fromhex(sys.argv[1]), FollowJointTrajectory.Goal)
end = time.monotonic() + 1.5  # diagnostics introduce this process to the arm node
while time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.05)
client.send_goal_async(goal)
rclpy.spin(node)
"""


def test_the_death_of_the_client_stops_the_arm_within_300_ms(graph: Any, node: ArmNode, arm: FakeArm) -> None:
    from rclpy.serialization import serialize_message

    goal = serialize_message(goal_to(HOME_Q + 0.8, 6.0)).hex()
    client = subprocess.Popen([sys.executable, "-c", CLIENT, goal], env=dict(os.environ))
    try:
        graph.wait(lambda: len(arm.log) > 100, "motion of the client's goal", 20.0)
    finally:
        client.kill()
        killed = time.monotonic()
        client.wait(5.0)
    graph.wait(lambda: time.monotonic() - arm.log[-1][0] > 0.2, "hold")
    assert arm.log[-1][0] - killed < 0.3
    assert_smooth(arm)


def test_a_config_error_fails_the_transition_with_its_message(graph: Any, arm: FakeArm) -> None:
    arm.fault = DeviceError("no arm at 192.0.2.1; check the cable")
    node = graph.add(ArmNode(make=lambda _: arm))
    node.trigger_configure()
    assert node._state_machine.current_state[1] == "unconfigured"
    assert "no arm at 192.0.2.1" in node._problems["transition"]
    arm.fault = None
    node.trigger_configure()
    assert node._state_machine.current_state[1] == "inactive"
    assert "transition" not in node._problems
