"""The gripper node over even fingers: reached, stalled, refused, cancelled, latched."""

from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from control_msgs.action import ParallelGripperCommand
from ros_fakes.devices import FakeGripper
from sensor_msgs.msg import JointState
from sinew_interfaces.msg import SafetyState

from sinew_nodes import qos, topics
from sinew_nodes.gripper_node import GripperNode

pytestmark = pytest.mark.ros


@pytest.fixture
def gripper() -> FakeGripper:
    return FakeGripper()


@pytest.fixture
def safety(graph: Any) -> Any:
    publisher = graph.client.create_publisher(SafetyState, topics.SAFETY_STATE, qos.LATCHED)
    publisher.publish(SafetyState())
    return publisher


@pytest.fixture
def action(graph: Any, gripper: FakeGripper, safety: Any) -> Any:
    node = graph.add(GripperNode(make=lambda _: gripper))
    node.trigger_configure()
    node.trigger_activate()
    graph.wait(lambda: node._state is not None and node._safety is not None, "gripper and safety state")
    return graph.action(ParallelGripperCommand, topics.GRIPPER_CMD)


def opening(*position: float, effort: float | None = None, claim: str = "") -> ParallelGripperCommand.Goal:
    goal = ParallelGripperCommand.Goal()
    goal.command.header.frame_id = claim
    goal.command.position = list(position)
    if effort is not None:
        goal.command.effort = [effort]
    return goal


def test_an_opening_is_reached_and_fingers_show_half_of_it(graph: Any, action: Any, gripper: FakeGripper) -> None:
    states = graph.listen(JointState, topics.GRIPPER_JOINT_STATES, qos.JOINT_STATES)
    end = action.run(opening(0.03, effort=20.0))
    assert end.status == GoalStatus.STATUS_SUCCEEDED
    assert (end.result.reached_goal, end.result.stalled) == (True, False)
    assert end.result.state.position[0] == pytest.approx(0.03, abs=0.002)
    assert gripper.commands == [(0.03, 0.1, 20.0)]
    graph.wait(lambda: states and states[-1].position[0] == pytest.approx(0.015, abs=0.001), "finger joints")
    assert list(states[-1].name) == ["panda_finger_joint1", "panda_finger_joint2"]
    assert action.feedback


def test_an_object_between_the_fingers_is_a_stall(action: Any, gripper: FakeGripper) -> None:
    gripper.object_m = 0.042
    end = action.run(opening(0.0))
    assert end.status == GoalStatus.STATUS_SUCCEEDED
    assert (end.result.reached_goal, end.result.stalled) == (False, True)
    assert end.result.state.position[0] == pytest.approx(0.042, abs=0.001)


@pytest.mark.parametrize(
    "goal",
    [
        opening(),
        opening(0.01, 0.01),
        opening(float("nan")),
        opening(0.2),
        opening(-0.05),
        opening(0.02, effort=-1.0),
        ParallelGripperCommand.Goal(command=JointState(name=["thumb"], position=[0.02])),
    ],
)
def test_bad_goals_abort_and_nothing_moves(action: Any, gripper: FakeGripper, goal: Any) -> None:
    end = action.run(goal)
    assert end.status == GoalStatus.STATUS_ABORTED
    assert gripper.commands == []


def test_cancel_holds_the_fingers_where_they_are(graph: Any, action: Any, gripper: FakeGripper) -> None:
    handle = action.send(opening(0.0))
    graph.wait(lambda: gripper.width_m < 0.06, "motion")
    graph.result(handle.cancel_goal_async(), "cancel")
    assert action.end(handle).status == GoalStatus.STATUS_CANCELED
    graph.wait(lambda: gripper.goal_m > 0.0, "hold")
    assert gripper.width_m > 0.02


def test_latch_and_lease_of_the_arm_apply(graph: Any, action: Any, gripper: FakeGripper, safety: Any) -> None:
    moving = action.send(opening(0.0))
    graph.wait(lambda: gripper.width_m < 0.07, "motion")
    safety.publish(SafetyState(estopped=True, estop_reason="button"))
    assert action.end(moving).status == GoalStatus.STATUS_ABORTED
    sent = len(gripper.commands)
    assert action.run(opening(0.05)).status == GoalStatus.STATUS_ABORTED
    safety.publish(SafetyState(lease_holder="operator", lease_priority=3))
    node_sees = action.run
    graph.wait(lambda: node_sees(opening(0.05, claim="operator")).result.reached_goal, "the holder's goal")
    assert len(gripper.commands) == sent + 1
    assert action.run(opening(0.06)).status == GoalStatus.STATUS_ABORTED
    assert len(gripper.commands) == sent + 1
