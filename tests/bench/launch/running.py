"""The launch seen by a client of its graph: how soon it is up and grasps, and at which rates it then runs."""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.launch.traffic import Traffic
from diagnostic_msgs.msg import DiagnosticArray
from ros_fakes.launched import Launch
from sinew_interfaces.action import ClearTable

from sinew_nodes import qos, topics
from sinew_nodes.demo.client import DemoClient
from sinew_policies.common.errors import DeviceTimeout
from sinew_policies.common.report import Metric

_READY_S = 150.0
_GRASP_S = 150.0
_SETTLE_S = 5.0  # discovery of the new subscriptions


@dataclass(frozen=True)
class StartUp:
    """Seconds since the launch."""

    active_s: float  # every node is active
    approach_s: float  # the arm sets out for the first grasp
    close_s: float  # the hand closes


class Cell:
    def __init__(self, launch: Launch, client: DemoClient, start_s: float) -> None:
        self.client = client
        self._launch, self._start_s = launch, start_s
        self._active = threading.Event()
        client.node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.DIAGNOSTICS)

    def alive(self) -> bool:
        return self._launch.process.poll() is None

    def wait_active(self) -> float:
        """Seconds since the launch. Raises DeviceTimeout: it ended, or takes too long."""
        while not self._active.wait(0.02):
            if not self.alive() or self._age_s() > _READY_S:
                raise DeviceTimeout(f"not all nodes became active; see {self._launch.log}")
        active_s = self._age_s()
        self.client.wait_for_task(_READY_S, self.alive)
        return active_s

    def clear(self, timeout_s: float, *, up_to: str = "") -> dict[str, float]:
        """Clears the table until its end, the timeout, or the stage `up_to`.

        Returns when each stage was first entered, in seconds since the launch.
        """
        first: dict[str, float] = {}

        def on_feedback(feedback: ClearTable.Feedback) -> None:
            first.setdefault(feedback.stage, self._age_s())

        with contextlib.suppress(DeviceTimeout):
            self.client.clear_table(on_feedback, timeout_s, lambda: self.alive() and up_to not in first)
        return first

    def _age_s(self) -> float:
        return time.monotonic() - self._start_s

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if any(s.name == "lifecycle_manager" and "are active" in s.message for s in message.status):
            self._active.set()


def start_up(seed: int, log: Path) -> StartUp:
    """Launches, clears the table up to the first closing of the hand, and ends."""
    with _cell(seed, log) as cell:
        active_s = cell.wait_active()
        first = cell.clear(_GRASP_S, up_to="close")
    if "close" not in first:
        raise DeviceTimeout(f"nothing was grasped within {_GRASP_S:.0f} s, only {', '.join(first)}; see {log}")
    return StartUp(active_s, first["approach"], first["close"])


def rates(seed: int, seconds: float, log: Path) -> dict[str, Metric]:
    """Rates over `seconds` of an idle graph and over as many (or fewer, if it is done) of a clearing one."""
    with _cell(seed, log) as cell:
        cell.wait_active()
        traffic = Traffic(cell.client.node)
        time.sleep(_SETTLE_S)
        start_s = time.monotonic()
        time.sleep(seconds)
        middle_s = time.monotonic()
        cell.clear(seconds)
        end_s = time.monotonic()
        return traffic.metrics("idle", start_s, middle_s) | traffic.metrics("clearing", middle_s, end_s)


@contextmanager
def _cell(seed: int, log: Path) -> Iterator[Cell]:
    start_s = time.monotonic()
    launch = Launch(["pick", f"seed:={seed}"], log)
    client = DemoClient()
    try:
        yield Cell(launch, client, start_s)
    finally:
        client.close()
        try:
            launch.end()
        finally:
            launch.kill()
