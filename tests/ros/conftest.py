"""One ROS graph for the tests of this folder: a free domain, nodes spun in threads, waits with deadlines."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from action_msgs.srv import CancelGoal
from rclpy.action.client import ActionClient, ClientGoalHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from ros_fakes.launched import Launch

from sinew_nodes.action_goal import send_goal
from sinew_nodes.base import SinewNode
from sinew_policies.common.dds import dds_environment, free_domain

os.environ["ROS_DOMAIN_ID"] = str(free_domain({}))
os.environ.update(dds_environment(os.environ))


class Graph:
    """Nodes in threads of their own, and a client node to look at them from outside."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._spun: list[tuple[SingleThreadedExecutor, Node, threading.Thread]] = []
        self.client = Node("tester")
        self.add(self.client)

    def add(self, node: Any) -> Any:
        """Spins `node` in a thread of its own."""
        executor = SingleThreadedExecutor()
        executor.add_node(node)

        def spin() -> None:
            while not self._stop.is_set():
                executor.spin_once(timeout_sec=0.1)

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        self._spun.append((executor, node, thread))
        return node

    def close(self) -> None:
        self._stop.set()
        for executor, node, thread in self._spun:
            executor.wake()
            thread.join(timeout=2.0)
            if isinstance(node, SinewNode):
                node.end()
            executor.remove_node(node)
            node.destroy_node()

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> Any:
        """The first true value of `condition`."""
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
            pause.wait(0.005)
        return value

    def result(self, future: Any, what: str, timeout_s: float = 10.0) -> Any:
        self.wait(future.done, what, timeout_s)
        return future.result()

    def answer(self, ask: Callable[[], Any], what: str, timeout_s: float = 10.0) -> Any:
        """Asks again every two seconds: on a loaded machine a server may not yet know a fresh client's reader,
        and its answer is lost."""
        asked: list[Any] = []
        due = 0.0

        def done() -> Any:
            nonlocal due
            if time.monotonic() > due:
                asked.append(ask())
                due = time.monotonic() + 2.0
            return next((f for f in asked if f.done()), None)

        return self.wait(done, what, timeout_s).result()

    def call(self, kind: type, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        client = self.client.create_client(kind, name)
        try:
            self.wait(client.service_is_ready, f"service {name}", timeout_s)
            return self.answer(lambda: client.call_async(request), f"answer of {name}", timeout_s)
        finally:
            self.client.destroy_client(client)

    def action(self, kind: type, name: str) -> "Action":
        return Action(self, kind, name)

    def listen(self, kind: type, topic: str, profile: QoSProfile) -> list[Any]:
        """Messages of `topic` as they come in."""
        messages: list[Any] = []
        self.client.create_subscription(kind, topic, messages.append, profile)
        return messages


class Action:
    def __init__(self, graph: Graph, kind: type, name: str) -> None:
        self._graph = graph
        self.client: Any = ActionClient(graph.client, kind, name)
        self._cancel: Any = graph.client.create_client(CancelGoal, f"{name}/_action/cancel_goal")
        self.feedback: list[Any] = []
        graph.wait(self.client.server_is_ready, f"action {name}")

    def send(self, goal: Any) -> ClientGoalHandle:
        """Asks again every two seconds, as `Graph.answer` does. Where an answer was lost, the server may be at a
        goal that nobody knows of, so all goals are cancelled first.
        """
        asked: list[Any] = []
        due = 0.0

        def accepted() -> Any:
            nonlocal due
            if time.monotonic() > due:
                if asked:
                    self._cancel.call_async(CancelGoal.Request())  # no name, no time: every goal
                asked.append(send_goal(self._graph.client, self.client, goal, self.feedback.append))
                due = time.monotonic() + 2.0
            handles = [f.result() for f in asked if f.done()]
            assert len(asked) > 1 or all(h.accepted for h in handles), "the goal was refused"
            return next((h for h in handles if h.accepted), None)

        handle: ClientGoalHandle = self._graph.wait(accepted, "acceptance", 20.0)
        return handle

    def end(self, handle: ClientGoalHandle, timeout_s: float = 10.0) -> Any:
        """Status and result."""
        return self._graph.result(handle.get_result_async(), "result", timeout_s)

    def run(self, goal: Any, timeout_s: float = 10.0) -> Any:
        return self.end(self.send(goal), timeout_s)


@pytest.fixture(scope="session")
def _ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def graph(_ros: None) -> Iterator[Graph]:
    out = Graph()
    yield out
    out.close()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Any]:
    running: list[Launch] = []

    def start(*arguments: str) -> Launch:
        running.append(Launch(list(arguments), tmp_path / f"launch-{len(running)}.log"))
        return running[-1]

    yield start
    for one in running:
        one.kill()
        print(one.log.read_text()[-4000:])
