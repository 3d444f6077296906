"""Action servers whose goals run elsewhere: in a control loop or a worker thread, never in the executor.

A goal's coroutine only waits for a future; cancel requests, feedback and fast subscriptions go on meanwhile.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future


class Ending(Enum):
    SUCCEEDED = "succeeded"
    ABORTED = "aborted"
    CANCELED = "canceled"


@dataclass(frozen=True)
class Running:
    """One accepted goal. `finish` may be called from any thread; the first call counts."""

    handle: ServerGoalHandle
    finish: Callable[[Ending, Any], None]

    @property
    def request(self) -> Any:
        return self.handle.request


class ActionHost:
    """`begin(running)` starts the work and returns at once; an exception in it aborts the goal through `refuse`.

    `cancel(running)` asks for the end; the work answers with `finish`. Goals are accepted always: a refused one
    ends as aborted with a result that says why, which a rejected one cannot.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        name: str,
        begin: Callable[[Running], None],
        cancel: Callable[[Running], None],
        refuse: Callable[[Exception], Any],
    ) -> None:
        self._node = node
        self._begin, self._cancel, self._refuse = begin, cancel, refuse
        self._lock = threading.Lock()
        self._running: dict[bytes, Running] = {}
        self._server: Any = ActionServer(
            node, kind, name, execute_callback=self._execute, cancel_callback=self._on_cancel
        )

    @property
    def running(self) -> tuple[Running, ...]:
        with self._lock:
            return tuple(self._running.values())

    def destroy(self, result: Any) -> None:
        """Ends every goal as aborted with `result` and takes the server away."""
        for running in self.running:
            running.finish(Ending.ABORTED, result)
        self._server.destroy()

    async def _execute(self, handle: ServerGoalHandle) -> Any:
        future: Future = Future()
        once = threading.Lock()

        def finish(ending: Ending, result: Any) -> None:
            with once:
                if not future.done():
                    future.set_result((ending, result))
            executor = self._node.executor
            if executor is not None:
                executor.wake()  # the coroutine is looked at whenever the executor has something to do

        running = Running(handle, finish)
        key = bytes(handle.goal_id.uuid)
        with self._lock:
            self._running[key] = running
        try:
            self._begin(running)
        except Exception as error:
            finish(Ending.ABORTED, self._refuse(error))
        outcome: Any = await future
        ending, result = outcome
        with self._lock:
            self._running.pop(key, None)
        if ending == Ending.SUCCEEDED:
            handle.succeed()
        elif ending == Ending.CANCELED and handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        with self._lock:
            running = self._running.get(bytes(handle.goal_id.uuid))
        if running is None:
            return CancelResponse.REJECT
        self._cancel(running)
        return CancelResponse.ACCEPT
