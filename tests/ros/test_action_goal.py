"""A goal's answer arrives however quick the server is, and whichever thread sends."""

import threading
from typing import Any

import pytest

import rclpy  # noqa: F401  # isort: skip
from control_msgs.action import ParallelGripperCommand
from rclpy.action.client import ActionClient
from rclpy.action.server import ActionServer
from rclpy.node import Node

from sinew_nodes.action_goal import send_goal


class _SlowToRegister(dict[bytes, Any]):
    """Stands for a sender that loses the processor between the request and what registers its second future."""

    def __setitem__(self, key: bytes, value: Any) -> None:
        threading.Event().wait(0.3)
        super().__setitem__(key, value)


def _serve(graph: Any) -> ActionClient:
    server = Node("quick_server")

    def execute(handle: Any) -> ParallelGripperCommand.Result:
        handle.succeed()
        return ParallelGripperCommand.Result(stalled=True)

    ActionServer(server, ParallelGripperCommand, "quick", execute)
    graph.add(server)
    client: Any = ActionClient(graph.client, ParallelGripperCommand, "quick")
    graph.wait(client.server_is_ready, "the action", 20.0)
    client._feedback_callbacks = _SlowToRegister()
    return client


def test_an_answer_between_request_and_registration_is_not_lost(graph: Any) -> None:
    client = _serve(graph)
    sent = send_goal(graph.client, client, ParallelGripperCommand.Goal(), lambda _: None)
    handle = graph.result(sent, "acceptance", 10.0)
    assert handle.accepted
    assert graph.result(handle.get_result_async(), "result").result.stalled


def test_a_goal_of_another_type_is_an_answer_and_leaves_the_executor_alive(graph: Any) -> None:
    client = _serve(graph)
    wrong = send_goal(graph.client, client, object())
    with pytest.raises(TypeError, match="goal"):
        graph.result(wrong, "refusal")
    sent = send_goal(graph.client, client, ParallelGripperCommand.Goal())
    assert graph.result(sent, "acceptance").accepted


def test_a_node_that_nothing_spins_is_named(graph: Any) -> None:
    lonely = Node("lonely")
    client: Any = ActionClient(lonely, ParallelGripperCommand, "quick")
    with pytest.raises(RuntimeError, match="'lonely' is not spun"):
        send_goal(lonely, client, ParallelGripperCommand.Goal())
    client.destroy()
    lonely.destroy_node()
