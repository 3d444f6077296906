"""Publishing transforms on /tf and /tf_static."""

from collections.abc import Sequence

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from sinew_nodes import qos, topics


class TransformBroadcaster:
    def __init__(self, node: Node) -> None:
        self._publisher = Node.create_publisher(node, TFMessage, topics.TF, qos.TF)

    def send(self, transforms: Sequence[TransformStamped]) -> None:
        self._publisher.publish(TFMessage(transforms=transforms))

    def destroy(self) -> None:
        self._publisher.destroy()


class StaticBroadcaster:
    """Transforms that never change. Late subscribers get only the last message of a latched topic,
    so each one carries the whole set."""

    def __init__(self, node: Node) -> None:
        self._publisher = Node.create_publisher(node, TFMessage, topics.TF_STATIC, qos.LATCHED)
        self._all: dict[str, TransformStamped] = {}

    def send(self, transforms: Sequence[TransformStamped]) -> None:
        self._all |= {t.child_frame_id: t for t in transforms}
        self._publisher.publish(TFMessage(transforms=list(self._all.values())))

    def destroy(self) -> None:
        self._publisher.destroy()
