"""Subscribes to topics of the graph as raw bytes and hands them to a bridge."""

import time
from collections.abc import Callable
from importlib import import_module

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from sinew_nodes.record.bridge import Bridge
from sinew_policies.common.errors import ConfigError

_NOISE = ("/parameter_events", "/rosout")


def is_plain(topic: str) -> bool:
    """Neither bookkeeping nor hidden (a name part with a leading underscore), as recorders of ROS 2 see it."""
    return topic not in _NOISE and "/_" not in topic


class TopicTap:
    """Taps every topic with a publisher, or those that `wanted` accepts, at most at `rate_hz(topic)`."""

    def __init__(
        self,
        node: LifecycleNode,
        bridge: Bridge,
        *,
        wanted: Callable[[str], bool] = is_plain,
        rate_hz: Callable[[str], float] = lambda topic: 0.0,
    ) -> None:
        self._node, self._bridge, self._wanted, self._rate_hz = node, bridge, wanted, rate_hz
        self._subscriptions: dict[str, Subscription] = {}
        self._refused: set[str] = set()
        self._next: dict[str, float] = {}
        self.messages = 0

    def refresh(self) -> None:
        """Looks for new topics; call it once a second."""
        for topic, types in self._node.get_topic_names_and_types():
            if topic in self._subscriptions or topic in self._refused or not self._wanted(topic):
                continue
            publishers = self._node.get_publishers_info_by_topic(topic)
            if publishers:
                self._subscribe(topic, types[0], [p.qos_profile for p in publishers])

    def close(self) -> None:
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _subscribe(self, topic: str, type_name: str, offered: list[QoSProfile]) -> None:
        try:
            package, kind, short = type_name.split("/")
            message_type = getattr(import_module(f"{package}.{kind}"), short)
            # Ask for no more than the weakest publisher offers, else nothing would arrive.
            reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
            latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
            profile = QoSProfile(
                depth=20,
                reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
            )
            self._subscriptions[topic] = self._node.create_subscription(
                message_type, topic, lambda raw: self._forward(topic, type_name, raw), profile, raw=True
            )
        except (ImportError, AttributeError, ValueError, ConfigError) as error:
            self._refused.add(topic)
            self._node.get_logger().warning(f"'{topic}' ({type_name}) is not forwarded: {error}")

    def _forward(self, topic: str, type_name: str, raw: bytes) -> None:
        rate = self._rate_hz(topic)
        if rate > 0.0:
            now = time.monotonic()
            if now < self._next.get(topic, 0.0):
                return
            self._next[topic] = now + 1.0 / rate
        try:
            self._bridge.log(topic, type_name, raw, int(self._node.get_clock().now().nanoseconds))
            self.messages += 1
        except ConfigError as error:
            self._refused.add(topic)
            self._node.get_logger().warning(f"'{topic}' is no longer forwarded: {error}")
            self._node.destroy_subscription(self._subscriptions.pop(topic))
