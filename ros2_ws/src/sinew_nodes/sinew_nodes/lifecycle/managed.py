"""One managed node's way from unknown to active, step by step, never waiting."""

import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

_ASK_TIMEOUT_S = 1.0
"""Short, because after a respawn the first question may still go to the dead process's address."""
_RETRY_S = 0.1
_REASON_S = 2.0
"""How long a refusal waits for the node's next diagnostics, which say why."""


class Stage(Enum):
    WAITING = "waiting for it to appear"
    ASKING = "asking for its state"
    CONFIGURING = "configuring"
    ACTIVATING = "activating"
    ACTIVE = "active"
    LOST = "lost, waiting for its return"
    FAILED = "failed"


class ManagedNode:
    """`reason(name)` gives the node's own words about its last fault, empty if it said nothing."""

    def __init__(self, owner: Node, name: str, *, timeout_s: float, reason: Callable[[str], str]) -> None:
        self.name = name  # fully qualified, without the leading slash
        self.stage = Stage.WAITING
        self.was_up = False
        self.fault = ""
        self.since_s = time.monotonic()
        self._timeout_s = timeout_s
        self._reason = reason
        self._get: Any = owner.create_client(GetState, f"/{name}/get_state")
        self._change: Any = owner.create_client(ChangeState, f"/{name}/change_state")
        self._future: Any = None
        self._deadline_s = 0.0
        self._not_before_s = 0.0
        self._refused_s = 0.0

    def step(self) -> bool:
        """Does what can be done now; True when the stage has changed."""
        before = self.stage
        match self.stage:
            case Stage.WAITING | Stage.LOST:
                self._ask()
            case Stage.ASKING:
                self._heed_state()
            case Stage.CONFIGURING:
                self._heed_change(Transition.TRANSITION_ACTIVATE, Stage.ACTIVATING)
            case Stage.ACTIVATING:
                self._heed_change(None, Stage.ACTIVE)
            case _:
                pass
        return self.stage is not before

    def lose(self) -> None:
        """Its process has ended: bring it up again once it is back."""
        self._forget_request()
        self._enter(Stage.LOST)

    def deactivate(self) -> Any:
        """Future of the answer, or None where there is nobody to ask."""
        if self.stage is not Stage.ACTIVE or not self._change.service_is_ready():
            return None
        return self._change.call_async(_request(Transition.TRANSITION_DEACTIVATE))

    def _ask(self) -> None:
        if time.monotonic() < self._not_before_s:
            return
        if self._get.service_is_ready() and self._change.service_is_ready():
            self._future = self._get.call_async(GetState.Request())
            self._deadline_s = time.monotonic() + _ASK_TIMEOUT_S
            self._enter(Stage.ASKING)

    def _heed_state(self) -> None:
        if not self._future.done():
            if time.monotonic() > self._deadline_s:
                self._again()
            return
        response = self._future.result()
        match response.current_state.id if response is not None else State.PRIMARY_STATE_UNKNOWN:
            case State.PRIMARY_STATE_UNCONFIGURED:
                self._send(Transition.TRANSITION_CONFIGURE, Stage.CONFIGURING)
            case State.PRIMARY_STATE_INACTIVE:
                self._send(Transition.TRANSITION_ACTIVATE, Stage.ACTIVATING)
            case State.PRIMARY_STATE_ACTIVE:
                self._up()
            case _:  # on its way somewhere
                self._again()

    def _heed_change(self, following: int | None, stage: Stage) -> None:
        if not self._future.done():
            if time.monotonic() > self._deadline_s:
                self._forget_request()
                self._fail(f"did not answer within {self._timeout_s:g} s while {self.stage.value}")
            return
        response = self._future.result()
        if response is None or not response.success:
            self._refused_s = self._refused_s or time.monotonic()
            why = self._reason(self.name)
            if why or time.monotonic() - self._refused_s > _REASON_S:
                self._fail(why or f"refused while {self.stage.value}; its own log says why")
        elif following is None:
            self._up()
        else:
            self._send(following, stage)

    def _send(self, transition: int, stage: Stage) -> None:
        self._future = self._change.call_async(_request(transition))
        self._deadline_s = time.monotonic() + self._timeout_s
        self._refused_s = 0.0
        self._enter(stage)

    def _up(self) -> None:
        self.was_up = True
        self.fault = ""
        self._enter(Stage.ACTIVE)

    def _fail(self, message: str) -> None:
        self.fault = message
        self._enter(Stage.FAILED)

    def _again(self) -> None:
        self._forget_request()
        self._not_before_s = time.monotonic() + _RETRY_S
        self._enter(Stage.LOST if self.was_up else Stage.WAITING)

    def _forget_request(self) -> None:
        if self._future is not None and not self._future.done():
            self._get.remove_pending_request(self._future)
            self._change.remove_pending_request(self._future)
        self._future = None

    def _enter(self, stage: Stage) -> None:
        if stage is not self.stage and stage is not Stage.ASKING:
            self.since_s = time.monotonic()
        self.stage = stage


def _request(transition: int) -> ChangeState.Request:
    return ChangeState.Request(transition=Transition(id=transition))
