"""Waiting from a worker thread for futures that the executor's thread completes."""

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.task import Future

from sinew_nodes.task.ports import Cancelled, NodeLost
from sinew_policies.common.errors import DeviceTimeout

_POLL_S = 0.02


class Interrupt:
    """Why a running task must stop now: a cancel request, or a node that has died."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._cancelled = False
        self._lost: str | None = None

    def cancel(self) -> None:
        with self._condition:
            self._cancelled = True
            self._condition.notify_all()

    def lose(self, node: str) -> None:
        with self._condition:
            self._lost = node
            self._condition.notify_all()

    def forget_loss(self) -> None:
        with self._condition:
            self._lost = None

    def check(self) -> None:
        """Raises Cancelled or NodeLost when one of them has happened."""
        if self._cancelled:
            raise Cancelled("the goal was cancelled")
        if self._lost is not None:
            raise NodeLost(self._lost, f"node {self._lost} is gone; waiting for it to be respawned")


def wait_for(future: Future, timeout_s: float, what: str, interrupt: Interrupt) -> Any:
    """Result of `future`. Raises DeviceTimeout after `timeout_s` of wall time, or what `interrupt` holds."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    deadline = time.monotonic() + timeout_s
    while not done.wait(_POLL_S):
        interrupt.check()
        if time.monotonic() > deadline:
            raise DeviceTimeout(f"no answer from {what} within {timeout_s:.1f} s")
    return future.result()


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str, interrupt: Interrupt) -> None:
    """Returns when `condition()` holds. Raises DeviceTimeout or what `interrupt` holds."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not condition():
        interrupt.check()
        if time.monotonic() > deadline:
            raise DeviceTimeout(f"waited {timeout_s:.1f} s for {what}")
        pause.wait(_POLL_S)


def rest(duration_s: float, interrupt: Interrupt) -> None:
    """Lets wall time pass. Raises what `interrupt` holds."""
    pause = threading.Event()
    deadline = time.monotonic() + duration_s
    while time.monotonic() < deadline:
        interrupt.check()
        pause.wait(_POLL_S)
