"""The arm node's safety services: lease, latch and state around the gate that every sample passes."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sinew_interfaces.msg import SafetyState
from sinew_interfaces.srv import AcquireLease, ReleaseLease
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from sinew_hardware.interfaces import Arm, ArmState
from sinew_hardware.models import panda
from sinew_hardware.safety.envelope import Envelope
from sinew_hardware.safety.gate import Gate, GateConfig, GateOutput
from sinew_hardware.safety.lease import Priority
from sinew_nodes import convert, qos, topics
from sinew_nodes.node_watch import NodeWatch
from sinew_nodes.trajectory.controller import TrajectoryController
from sinew_policies.common.errors import CommandRejected
from sinew_policies.common.types import F64

if TYPE_CHECKING:
    from sinew_nodes.arm_node import ArmNode

_STATE_PERIOD_S = 0.1
STALL_S = 0.25
"""After a longer pause of the loop the arm is taken to stand still."""


class SafetyDesk:
    def __init__(self, node: "ArmNode", controller: TrajectoryController, arm: Arm) -> None:
        self._node, self._controller = node, controller
        # Envelope and arm model belong together; other arms get theirs with their driver.
        check = Envelope().breach if arm.joint_names == panda.JOINT_NAMES else None
        self._gate = Gate(
            arm.limits, arm.joint_names, GateConfig(period_s=arm.period_s, idle_s=STALL_S), check=check
        )
        self._lock = threading.Lock()
        self._now_s = 0.0  # control time: the sum of the loop's periods, simulated where the arm is
        self._reported = ""
        self.on_node_lost: Callable[[str], None] = lambda name: None
        self._publisher = node.publisher(SafetyState, topics.SAFETY_STATE, qos.LATCHED)
        self._watch = NodeWatch(node, self._on_lost)
        node.subscription(Bool, topics.SAFETY_ESTOP, self._on_estop, qos.COMMAND)
        node.owned_service(AcquireLease, topics.SAFETY_ACQUIRE, self._on_acquire)
        node.owned_service(ReleaseLease, topics.SAFETY_RELEASE, self._on_release)
        node.owned_service(Trigger, topics.SAFETY_TRIP, self._on_trip)
        node.owned_service(Trigger, topics.SAFETY_RESET, self._on_reset)
        node.timer(_STATE_PERIOD_S, self.publish)

    def close(self) -> None:
        self._watch.close()

    # -- for the loop and the trajectory server --------------------------------------------------------------

    @property
    def estop_reason(self) -> str:
        """Empty while nothing is latched."""
        with self._lock:
            return self._gate.state(self._now_s).estop_reason

    @property
    def holder(self) -> str:
        with self._lock:
            lease = self._gate.state(self._now_s).lease
            return lease.holder if lease is not None else ""

    def observe(self, state: ArmState, dt_s: float) -> None:
        """From the loop, first thing in every period."""
        with self._lock:
            self._now_s += dt_s
            age_s = max(time.monotonic_ns() - state.t_mono_ns, 0) * 1e-9
            self._gate.observe(state.q, state.dq, self._now_s - age_s)

    def judge(self, wanted: F64 | None, holder: str) -> GateOutput | None:
        """What to send in this period; None when nothing is wanted and the arm rests."""
        with self._lock:
            if wanted is not None:
                return self._gate.command(wanted, holder=holder, stamp_s=self._now_s, now_s=self._now_s)
            return None if self._gate.at_rest else self._gate.tick(self._now_s)

    @property
    def last_q(self) -> F64:
        """Last output (J,) rad."""
        with self._lock:
            return self._gate.last_q

    @property
    def at_rest(self) -> bool:
        with self._lock:
            return self._gate.at_rest

    def take_for_goal(self, claim: str) -> str:
        """The holder under which a trajectory goal runs.

        With no lease held the goal takes one at policy priority for its duration; under a lease it must claim
        the holder's name in its header's frame_id. Raises CommandRejected.
        """
        with self._lock:
            state = self._gate.state(self._now_s)
            if state.estopped:
                raise CommandRejected("estop", _latched(state.estop_reason))
            lease = state.lease
            if lease is None or lease.holder == topics.ARM_HOLDER:
                return self._gate.acquire(topics.ARM_HOLDER, Priority.POLICY, self._now_s, None).holder
            if claim != lease.holder:
                raise CommandRejected(
                    "lease",
                    f"'{lease.holder}' holds the lease; release it there, or put that name into "
                    "trajectory.header.frame_id if the goal is the holder's",
                )
            return lease.holder

    def release_after_goal(self) -> None:
        with self._lock:
            self._gate.release(topics.ARM_HOLDER, self._now_s)

    def trip(self, reason: str) -> None:
        """Latches; from the loop's next tick on the arm brakes."""
        with self._lock:
            self._gate.trip(reason, self._now_s)
        self.publish()

    def publish(self) -> None:
        with self._lock:
            state = self._gate.state(self._now_s)
        if state.estop_reason != self._reported:
            self._reported = state.estop_reason
            if state.estopped:
                self._node.get_logger().error(f"emergency stop: {state.estop_reason}")
        event = state.last_event
        message = SafetyState(
            estopped=state.estopped,
            estop_reason=state.estop_reason,
            lease_holder=state.lease.holder if state.lease is not None else "",
            lease_priority=int(state.lease.priority) if state.lease is not None else 0,
            mode=self._controller.mode,
            passed=state.passed,
            clamped=state.clamped,
            rejected=state.rejected,
            last_rejection=f"{event.reason}: {event.message}" if event is not None else "",
        )
        message.header.stamp = convert.stamp_msg(self._node.now_ns())
        self._publisher.publish(message)

    # -- services --------------------------------------------------------------------------------------------

    def _on_acquire(self, request: AcquireLease.Request, response: AcquireLease.Response) -> AcquireLease.Response:
        codes = AcquireLease.Response
        try:
            priority = _priority(request.priority)
            with self._lock:
                ttl_s = request.duration_s or None
                lease = self._gate.acquire(request.holder.lstrip("/"), priority, self._now_s, ttl_s)
        except CommandRejected as error:
            response.current_holder = self.holder
            other = error.reason == "lease" and response.current_holder not in ("", request.holder)
            response.error_code = (
                codes.ESTOPPED if error.reason == "estop" else codes.HELD_BY_OTHER if other else codes.BAD_REQUEST
            )
            response.error_msg = str(error)
            return response
        response.granted, response.current_holder = True, lease.holder
        self._node.get_logger().info(f"'{lease.holder}' holds the lease at {lease.priority.name.lower()} priority")
        self.publish()
        return response

    def _on_release(self, request: ReleaseLease.Request, response: ReleaseLease.Response) -> ReleaseLease.Response:
        with self._lock:
            response.released = self._gate.release(request.holder.lstrip("/"), self._now_s)
        response.current_holder = self.holder
        if not response.released:
            response.error_code = ReleaseLease.Response.NOT_HOLDER
            response.error_msg = f"'{request.holder}' does not hold the lease; '{self.holder or 'nobody'}' does"
        self.publish()
        return response

    def _on_estop(self, message: Bool) -> None:
        if message.data:  # false never resets: that takes the service
            self.trip(f"topic {topics.SAFETY_ESTOP}")

    def _on_trip(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.trip(f"service {topics.SAFETY_TRIP}")
        response.success, response.message = True, "latched; the arm holds"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            with self._lock:
                self._gate.reset(self._now_s)
        except CommandRejected as error:
            response.message = str(error)
            self._node.get_logger().error(str(error))
            return response
        self._node.get_logger().info("emergency stop reset; nothing resumes by itself")
        response.success, response.message = True, "reset; send a new goal to move"
        self.publish()
        return response

    def _on_lost(self, name: str) -> None:
        """A node of the graph died: its lease ends at once, the loop stops what ran under it."""
        with self._lock:
            held = self._gate.release(name, self._now_s)
        if held:
            self._node.get_logger().error(f"lease holder '{name}' died; the arm holds")
        self.on_node_lost(name)


def _latched(reason: str) -> str:
    return f"emergency stop is latched ({reason}); call {topics.SAFETY_RESET} when the cause is gone"


def _priority(value: int) -> Priority:
    try:
        return Priority(value)
    except ValueError:
        known = ", ".join(f"{p.value} {p.name.lower()}" for p in Priority)
        raise CommandRejected("lease", f"lease priority {value} is unknown; expected one of {known}") from None
