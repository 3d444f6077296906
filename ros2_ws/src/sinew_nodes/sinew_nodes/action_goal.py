"""Sends action goals from any thread.

`ActionClient.send_goal_async` of rclpy 9.1 registers a second future for a request that is already on its way. An
answer that the executor takes in between is lost, or raises ValueError, while the goal runs without its client.
On the executor's own thread nothing can come in between.
"""

from collections.abc import Callable
from typing import Any

from rclpy.action.client import ActionClient
from rclpy.node import Node
from rclpy.task import Future


def send_goal(
    node: Node, client: ActionClient, goal: object, feedback: Callable[[Any], None] | None = None
) -> Future:
    """The goal handle to come. `node` is the client's and must be spun by an executor."""
    answered: Future = Future()

    def send() -> None:
        try:
            client.send_goal_async(goal, feedback_callback=feedback).add_done_callback(pass_on)
        except Exception as fault:  # for who waits for the answer; an exception here would end the executor
            answered.set_exception(fault)

    def pass_on(sent: Future) -> None:
        fault = sent.exception()
        if fault is not None:
            answered.set_exception(fault)
        else:
            answered.set_result(sent.result())

    executor = node.executor
    if executor is None:
        raise RuntimeError(
            f"node '{node.get_name()}' is not spun by an executor; add it to one before sending goals"
        )
    executor.create_task(send)
    return answered
