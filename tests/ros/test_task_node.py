"""The task node without a cell: one task at a time, a cancel at any moment, parameters in range."""

from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from rclpy.parameter import Parameter
from ros_fakes.devices import FakeArm
from sinew_interfaces.action import ClearTable, Pick

from sinew_nodes import topics
from sinew_nodes.action_goal import send_goal
from sinew_nodes.arm_node import ArmNode
from sinew_nodes.task_node import TaskNode

pytestmark = pytest.mark.ros


@pytest.fixture
def arm(graph: Any) -> FakeArm:
    """An arm behind its node; there is no gripper and no grasp node."""
    arm = FakeArm()
    node = graph.add(ArmNode(make=lambda _: arm))
    node.trigger_configure()
    node.trigger_activate()
    return arm


@pytest.fixture
def node(graph: Any, arm: FakeArm) -> TaskNode:
    node: TaskNode = graph.add(TaskNode())
    node.trigger_configure()
    node.trigger_activate()
    assert node.is_active
    return node


def test_a_second_task_is_refused_and_the_first_goes_on(graph: Any, node: TaskNode, arm: FakeArm) -> None:
    clearing = graph.action(ClearTable, topics.TASK_CLEAR_TABLE)
    picking = graph.action(Pick, topics.TASK_PICK)
    first = clearing.send(ClearTable.Goal())
    for action, goal in ((clearing, ClearTable.Goal()), (picking, Pick.Goal())):
        second = graph.answer(lambda a=action, g=goal: send_goal(graph.client, a.client, g), "an answer")
        assert not second.accepted
    assert first.status in (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING)
    graph.result(first.cancel_goal_async(), "the cancel's answer")
    end = clearing.end(first)
    assert end.status == GoalStatus.STATUS_CANCELED
    assert end.result.error_code == ClearTable.Result.CANCELED
    assert "the arm holds" in end.result.error_msg
    assert arm.log == []
    again = clearing.send(ClearTable.Goal())  # the node is free again
    graph.result(again.cancel_goal_async(), "the cancel's answer")
    assert clearing.end(again).status == GoalStatus.STATUS_CANCELED


def test_an_inactive_task_node_refuses_goals(graph: Any, node: TaskNode) -> None:
    clearing = graph.action(ClearTable, topics.TASK_CLEAR_TABLE)
    node.trigger_deactivate()
    assert not graph.answer(
        lambda: send_goal(graph.client, clearing.client, ClearTable.Goal()), "an answer"
    ).accepted


def test_parameters_of_a_running_task_stay(node: TaskNode) -> None:
    result = node.set_parameters([Parameter("speed", value=1.0)])[0]
    assert not result.successful
    assert "parameter 'speed' stays 0.6" in result.reason
