"""Feeds a TransformBuffer from /tf and /tf_static."""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from sinew_nodes import convert, qos, topics
from sinew_nodes.tf.buffer import TransformBuffer
from sinew_policies.common.errors import DataError

_STATIC = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class TransformListener:
    """Spin the node elsewhere: `lookup` with a timeout in one of its callbacks would wait for itself."""

    def __init__(self, node: Node, buffer: TransformBuffer | None = None) -> None:
        self.buffer = buffer or TransformBuffer()
        self._log = node.get_logger()
        self._node = node
        self._subscriptions = [
            node.create_subscription(TFMessage, topics.TF, lambda m: self._take(m, False), qos.TF),
            node.create_subscription(TFMessage, topics.TF_STATIC, lambda m: self._take(m, True), _STATIC),
        ]

    def destroy(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _take(self, message: TFMessage, static: bool) -> None:
        for t in message.transforms:
            try:
                self.buffer.put(
                    t.header.frame_id,
                    t.child_frame_id,
                    convert.transform_matrix(t.transform),
                    convert.stamp_ns(t.header.stamp),
                    static=static,
                )
            except DataError as error:
                self._log.warning(f"transform ignored: {error}", throttle_duration_sec=5.0)
