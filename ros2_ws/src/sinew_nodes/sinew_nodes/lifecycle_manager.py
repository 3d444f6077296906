"""Configures and activates the other nodes in order, so that no launch tool needs to know of lifecycles.

Each node is active before the next one is configured. A node whose process ended is reported at once and brought
up again when it is back. A node that refuses is named, with its own reason, in the log and on /diagnostics.
"""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from threading import Lock
from types import FrameType

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sinew_nodes import params, qos, topics
from sinew_nodes.lifecycle.managed import ManagedNode, Stage
from sinew_nodes.node_watch import HOST_KEY, PID_KEY, NodeWatch
from sinew_nodes.params import parameter
from sinew_policies.common.errors import SinewError

_TICK_S = 0.05
_REPORT_S = 1.0
_REMIND_S = 10.0
_GOODBYE_S = 0.8
"""For deactivation at the end; the others are told to end at the same moment and mostly do it themselves."""


@dataclass(frozen=True)
class ManagerConfig:
    node_names: tuple[str, ...] = parameter(("",), "nodes to bring up, in this order")  # rclpy: [] has no type
    transition_timeout_s: float = parameter(
        60.0, "longest configuration or activation of one node", low=1.0, high=600.0
    )
    exit_on_failure: bool = parameter(False, "end with exit code 1 when a node cannot be brought up the first time")


class LifecycleManager(Node):
    """`failed`: a node could not be brought up the first time and `exit_on_failure` is set."""

    def __init__(self) -> None:
        super().__init__("lifecycle_manager")
        params.declare(self, ManagerConfig, lambda: True)
        self._config = params.read(self, ManagerConfig)
        self.failed = False
        self._reasons: dict[str, str] = {}
        self._lost: set[str] = set()
        self._lock = Lock()
        self._reported_s = self._reminded_s = time.monotonic()
        namespace = self.get_namespace().strip("/")
        self._managed = [
            ManagedNode(
                self,
                name.strip("/") if name.startswith("/") else f"{namespace}/{name}".strip("/"),
                timeout_s=self._config.transition_timeout_s,
                reason=lambda node: self._reasons.get(node, ""),
            )
            for entry in self._config.node_names
            # A launch file composes its list from variables that hold several names, or none.
            for name in entry.replace(",", " ").split()
        ]
        self._publisher = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.DIAGNOSTICS)
        self._watch = NodeWatch(self, self._on_lost)
        self.create_timer(_TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def all_active(self) -> bool:
        return all(node.stage is Stage.ACTIVE for node in self._managed)

    def say_goodbye(self, executor: SingleThreadedExecutor) -> None:
        """Deactivates in reverse order, for at most _GOODBYE_S."""
        self._watch.close()
        deadline_s = time.monotonic() + _GOODBYE_S
        for node in reversed(self._managed):
            future = node.deactivate()
            while future is not None and not future.done() and time.monotonic() < deadline_s:
                executor.spin_once(timeout_sec=0.05)

    def _tick(self) -> None:
        changed = False
        with self._lock:
            lost, self._lost = self._lost, set()
        for node in self._managed:
            if node.name in lost:
                self.get_logger().error(f"node '{node.name}' is gone; it is brought up again when it is back")
                node.lose()
                changed = True
        for node in self._managed:
            if node.step():
                changed = changed or node.stage is not Stage.ASKING
                self._announce(node)
            # The first time, each waits for those before it; after a loss the others are up already.
            if not node.was_up:
                break
        now_s = time.monotonic()
        if changed or now_s - self._reported_s > _REPORT_S:
            self._reported_s = now_s
            self._report()
        if now_s - self._reminded_s > _REMIND_S:
            self._reminded_s = now_s
            self._remind(now_s)

    def _announce(self, node: ManagedNode) -> None:
        if node.stage is Stage.ACTIVE:
            self.get_logger().info(f"node '{node.name}' is active")
            if self.all_active:
                self.get_logger().info(f"all {len(self._managed)} nodes are active")
        elif node.stage is Stage.FAILED:
            self.get_logger().error(f"node '{node.name}' cannot be brought up: {node.fault}")
            # Later, after a respawn, the others go on and wait for a remedy.
            if self._config.exit_on_failure and not node.was_up:
                self.failed = True

    def _remind(self, now_s: float) -> None:
        for node in self._managed:
            if node.stage in (Stage.WAITING, Stage.LOST, Stage.ASKING):
                self.get_logger().warning(
                    f"waiting for node '{node.name}' for {now_s - node.since_s:.0f} s; "
                    "check that it is in the launch file and that its process runs"
                )
            if not node.was_up:
                return

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.split(":")[0].strip().lstrip("/")
            self._reasons[name] = status.message if status.level == DiagnosticStatus.ERROR else ""

    def _on_lost(self, name: str) -> None:
        with self._lock:  # called from the watching thread
            self._lost.add(name.lstrip("/"))

    def _report(self) -> None:
        ill = [n for n in self._managed if n.stage is Stage.FAILED or (n.was_up and n.stage is not Stage.ACTIVE)]
        if ill:
            level = DiagnosticStatus.ERROR
            text = "; ".join(f"node '{n.name}': {n.fault or n.stage.value}" for n in ill)
        elif self.all_active:
            level, text = DiagnosticStatus.OK, f"all {len(self._managed)} nodes are active"
        else:
            first = next(n for n in self._managed if n.stage is not Stage.ACTIVE)
            level, text = DiagnosticStatus.WARN, f"node '{first.name}': {first.stage.value}"
        values = {PID_KEY: str(os.getpid()), HOST_KEY: socket.gethostname()}
        values |= {node.name: node.stage.value for node in self._managed}
        status = DiagnosticStatus(
            level=level,
            name=self.get_fully_qualified_name().lstrip("/"),
            message=text,
            values=[KeyValue(key=k, value=v) for k, v in values.items()],
        )
        out = DiagnosticArray(status=[status])
        out.header.stamp = self.get_clock().now().to_msg()
        self._publisher.publish(out)


def main() -> int:
    stopped = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        manager = LifecycleManager()
    except SinewError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(manager)
    while not stopped and not manager.failed:
        executor.spin_once(timeout_sec=0.2)
    manager.say_goodbye(executor)
    manager.destroy_node()
    rclpy.try_shutdown()
    return 1 if manager.failed else 0


if __name__ == "__main__":
    sys.exit(main())
