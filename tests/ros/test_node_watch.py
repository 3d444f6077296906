"""A killed process is noticed within milliseconds, by name; a new one is welcomed back."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from sinew_nodes import qos, topics
from sinew_nodes.node_watch import HOST_KEY, PID_KEY, STATE_KEY, NodeWatch

pytestmark = pytest.mark.ros


@pytest.fixture
def graph() -> Iterator[tuple[Node, SingleThreadedExecutor]]:
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("watch_test", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    yield node, executor
    node.destroy_node()
    rclpy.shutdown(context=context)


def _child() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])


def _say(node: Node, publisher: object, pid: int) -> None:
    values = {PID_KEY: str(pid), HOST_KEY: socket.gethostname(), STATE_KEY: "active"}
    status = DiagnosticStatus(name="grasp_node", values=[KeyValue(key=k, value=v) for k, v in values.items()])
    publisher.publish(DiagnosticArray(status=[status]))  # type: ignore[attr-defined]


def _until(executor: SingleThreadedExecutor, condition: threading.Event, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition.is_set():
        assert time.monotonic() < deadline
        executor.spin_once(timeout_sec=0.01)


def test_death_is_reported_by_name_and_return_is_seen(graph: tuple[Node, SingleThreadedExecutor]) -> None:
    node, executor = graph
    lost = threading.Event()
    names: list[str] = []

    def on_lost(name: str) -> None:
        names.append(name)
        died_at.append(time.monotonic())
        lost.set()

    died_at: list[float] = []
    watch = NodeWatch(node, on_lost)
    publisher = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
    first, second = _child(), _child()
    try:
        heard = threading.Event()
        deadline = time.monotonic() + 5.0
        while not heard.is_set() and time.monotonic() < deadline:
            _say(node, publisher, first.pid)
            executor.spin_once(timeout_sec=0.05)
            if watch.knows("grasp_node"):
                heard.set()
        assert heard.is_set()
        killed = time.monotonic()
        os.kill(first.pid, signal.SIGKILL)
        assert lost.wait(5.0)
        assert names == ["grasp_node"]
        assert died_at[0] - killed < 0.3
        assert watch.lost() == ("grasp_node",)
        _say(node, publisher, second.pid)
        back = threading.Event()
        waiter = threading.Thread(target=lambda: watch.wait_until_back("grasp_node", 5.0) and back.set())
        waiter.start()
        _until(executor, back)
        waiter.join()
        assert watch.is_alive("grasp_node")
    finally:
        watch.close()
        for child in (first, second):
            child.kill()
            child.wait()
