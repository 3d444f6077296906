"""The lifecycle node every node of sinew derives from.

A node says what its configuration is and what to build from it; this class turns that into transitions,
parameters and diagnostics. Build in `on_configure`, move or publish only between `on_activate` and
`on_deactivate`; an error in a transition is logged with its message and fails the transition.
"""

import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.subscription import Subscription

from sinew_nodes import params, qos, topics
from sinew_nodes.meters import Meters, Reading
from sinew_nodes.node_watch import HOST_KEY, PID_KEY, STATE_KEY
from sinew_policies.common.errors import SinewError

ConfigT = TypeVar("ConfigT")


class SinewNode(LifecycleNode, Generic[ConfigT]):
    """Override `config_type` and the four `build`, `start`, `stop`, `clear`; call the helpers to make entities.

    Entities made in `build` through `publisher`, `subscription` and `timer` are destroyed on clean-up.
    """

    config_type: ClassVar[type]

    def __init__(self, name: str, **node_options: Any) -> None:
        super().__init__(name, **node_options)
        self.meters = Meters()
        self.config: ConfigT
        self._problems: dict[str, str] = {}
        self._entities: list[Callable[[], object]] = []
        self._label = "unconfigured"
        self.was_asked = False  # whether anybody has ever configured this node
        self._diagnostics = Node.create_publisher(self, DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)
        self._fault = self._declare_parameters()

    # -- for subclasses --------------------------------------------------------------------------------------

    def build(self, config: ConfigT) -> None:
        """Make devices, models and entities; no motion. Raise SinewError to refuse the configuration."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """End work; actuators hold. Also called after a failed start."""

    def clear(self) -> None:
        """Give back what `build` took. Must work on a half-built node."""

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        """A warning (empty: all is well) and further values for /diagnostics."""
        return "", {}

    def publisher(self, kind: type, topic: str, profile: QoSProfile) -> Publisher:
        """A publisher whose QoS mismatches reach the log and /diagnostics."""
        events = PublisherEventCallbacks(
            incompatible_qos=lambda e: self._on_incompatible("publisher", topic, e), use_default_callbacks=False
        )
        out: Publisher = Node.create_publisher(self, kind, topic, profile, event_callbacks=events)
        self._entities.append(lambda: self.destroy_publisher(out))
        return out

    def subscription(
        self, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile
    ) -> Subscription:
        """A subscription whose QoS mismatches and lost messages reach the log and /diagnostics."""
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda e: self._on_incompatible("subscription", topic, e),
            message_lost=lambda e: self._on_lost(topic, e.total_count_change),
            use_default_callbacks=False,
        )
        out = self.create_subscription(kind, topic, callback, profile, event_callbacks=events)
        self._entities.append(lambda: self.destroy_subscription(out))
        return out

    def timer(self, period_s: float, callback: Callable[[], None]) -> None:
        """A timer on the monotonic clock, so that it also runs while simulated time stands still."""
        out = self.create_timer(period_s, callback, clock=self._steady)
        self._entities.append(lambda: self.destroy_timer(out))

    def owned_service(
        self, kind: type, name: str, callback: Callable[[Any, Any], Any], *, group: CallbackGroup | None = None
    ) -> None:
        """A service. A coroutine that awaits needs a `group` of its own: it occupies its group until it ends."""
        out = self.create_service(kind, name, callback, callback_group=group)
        self._entities.append(lambda: self.destroy_service(out))

    def on_clear(self, undo: Callable[[], object]) -> None:
        """Runs `undo` on clean-up, newest first."""
        self._entities.append(undo)

    def now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def problem(self, key: str, message: str) -> None:
        """Keeps a standing problem in /diagnostics and logs it once; an empty message ends it."""
        if self._problems.get(key, "") == message:
            return
        if message:
            self._problems[key] = message
            self.get_logger().error(message)
        else:
            self._problems.pop(key, None)

    @property
    def is_active(self) -> bool:
        return self._label == "active"

    # -- transitions -----------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.was_asked = True
        if self._fault:
            self.problem("transition", f"cannot configure: {self._fault}")
            return TransitionCallbackReturn.FAILURE
        started = time.monotonic()

        def build() -> None:
            self.config = params.read(self, self.config_type)
            self.build(self.config)

        if not self._attempt("configure", build):
            self._clear_all()
            return TransitionCallbackReturn.FAILURE
        self._label = "inactive"
        self.get_logger().info(f"configured in {time.monotonic() - started:.1f} s")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if not self._attempt("activate", self.start):
            self._attempt("stop after the failed activation", self.stop)
            return TransitionCallbackReturn.FAILURE
        self._label = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._label = "inactive"
        self._attempt("deactivate", self.stop)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._label = "unconfigured"
        self._clear_all()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.end()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.end()
        self._label = "unconfigured"
        return TransitionCallbackReturn.SUCCESS

    def end(self) -> None:
        """Stops and clears whatever state the node is in; safe to call twice."""
        if self._label == "active":
            self._attempt("stop", self.stop)
        if self._label in ("active", "inactive"):
            self._clear_all()
        self._label = "finalized"

    # -- inside ----------------------------------------------------------------------------------------------

    def _declare_parameters(self) -> str:
        try:
            params.declare(self, self.config_type, lambda: self._label in ("inactive", "active"))
        except SinewError as error:
            return str(error)
        return ""

    def _attempt(self, what: str, work: Callable[[], None]) -> bool:
        key = what if what.startswith(("clear", "stop")) else "transition"  # clearing must not hide why
        try:
            work()
        except SinewError as error:
            self.problem(key, f"cannot {what}: {error}")
            return False
        except Exception as error:
            self.problem(key, f"cannot {what}: {type(error).__name__}: {error}")
            traceback.print_exc()
            return False
        self.problem(key, "")
        return True

    def _clear_all(self) -> None:
        self._attempt("clear", self.clear)
        while self._entities:
            self._attempt("clear", lambda: (self._entities.pop()(), None)[1])

    def _on_incompatible(self, side: str, topic: str, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        other = "subscriber" if side == "publisher" else "publisher"
        self.meters.count("qos_incompatible")
        self.problem(
            f"qos {topic}",
            f"{side} of '{topic}' and a {other} disagree about {policy}: no message passes; "
            f"make the {other}'s {policy} match (`ros2 topic info -v {topic}` shows both)",
        )

    def _on_lost(self, topic: str, n: int) -> None:
        self.meters.count(f"lost {topic}", n)
        self.get_logger().warning(
            f"{n} messages of '{topic}' were lost on the way; check that FASTDDS_DEFAULT_PROFILES_FILE names "
            "sinew's profile and that /dev/shm is large enough (sinew doctor)",
            throttle_duration_sec=5.0,
        )

    def _publish_diagnostics(self) -> None:
        reading = self.meters.read()
        warning, values = self.report(reading)
        values = {PID_KEY: str(os.getpid()), HOST_KEY: socket.gethostname(), STATE_KEY: self._label, **values}
        values |= {f"{name}_hz": f"{hz:.2f}" for name, hz in reading.rates_hz.items()}
        for name, (median, p95, worst) in reading.stage_ms.items():
            values[f"{name}_ms"] = f"{median:.2f} (p95 {p95:.2f}, max {worst:.2f})"
        values |= {name: str(n) for name, n in reading.counts.items()}
        lost = [f"{n} x {name}" for name, n in reading.new_counts.items() if n and name.startswith("lost ")]
        level, message = DiagnosticStatus.OK, self._label
        if warning or lost:
            level, message = DiagnosticStatus.WARN, "; ".join([w for w in (warning, *lost) if w])
        if self._problems:
            level, message = DiagnosticStatus.ERROR, "; ".join(self._problems.values())
        status = DiagnosticStatus(
            level=level,
            name=self.get_fully_qualified_name().lstrip("/"),
            message=message,
            hardware_id=values.pop("hardware_id", ""),
            values=[KeyValue(key=k, value=v) for k, v in values.items()],
        )
        message_out = DiagnosticArray(status=[status])
        message_out.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message_out)
