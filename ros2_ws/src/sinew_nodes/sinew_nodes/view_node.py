"""The live page as a node: what the graph knows, in any browser; and a Foxglove-compatible websocket."""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import sys
from dataclasses import dataclass

import numpy as np
from nav_msgs.msg import Path as PathMsg
from sensor_msgs.msg import Image, JointState, PointCloud2
from sinew_interfaces.msg import GraspArray, TaskStatus
from std_msgs.msg import String

from sinew_nodes import convert, qos, topics
from sinew_nodes.base import SinewNode
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_nodes.record.bridge import Bridge
from sinew_nodes.record.tap import TopicTap
from sinew_nodes.spin import run
from sinew_nodes.view.page import Page, Status
from sinew_nodes.view.token_gate import TokenGate, is_loopback, new_token
from sinew_policies.common.errors import ConfigError, DataError


@dataclass(frozen=True)
class ViewConfig:
    bind: str = parameter("127.0.0.1", "address to show the page on; anything but loopback needs a token")
    token: str = parameter("", "token for another address than loopback; empty: one is made and printed")
    port: int = parameter(8080, "port of the page; 0: any free one", low=0, high=65535)
    websocket_port: int = parameter(8765, "port of the Foxglove websocket; 0: none", low=0, high=65535)
    camera: str = parameter("scene_camera", "camera shown beside the scene")
    image_rate_hz: float = parameter(4.0, "images per second sent to the browser", low=0.1, high=30.0)


class ViewNode(SinewNode[ViewConfig]):
    config_type = ViewConfig

    def __init__(self) -> None:
        super().__init__("view_node")
        self._page: Page | None = None
        self._bridge: Bridge | None = None
        self._tap: TopicTap | None = None
        self._gates: list[TokenGate] = []
        self._positions: dict[str, float] = {}
        self._image: Image | None = None

    def build(self, config: ViewConfig) -> None:
        page = Page(config.port if is_loopback(config.bind) else 0, title="sinew")
        self._page = page
        if config.websocket_port:
            inner = config.websocket_port if is_loopback(config.bind) else 0
            self._bridge = Bridge(websocket_port=inner)
            self._tap = TopicTap(self, self._bridge)
            self.timer(1.0, self._tap.refresh)
            self.on_clear(self._tap.close)
        self._announce(config)
        self.subscription(String, topics.ROBOT_DESCRIPTION, self._on_robot, qos.LATCHED)
        self.subscription(JointState, topics.JOINT_STATES, self._on_joints, qos.JOINT_STATES)
        self.subscription(GraspArray, topics.GRASP_CANDIDATES, self._on_grasps, qos.LATCHED)
        self.subscription(PointCloud2, topics.GRASP_CLOUD, self._on_cloud, qos.LATCHED)
        self.subscription(PointCloud2, topics.GRASP_SEGMENTS, self._on_segments, qos.LATCHED)
        self.subscription(PathMsg, topics.TASK_PLAN, self._on_plan, qos.LATCHED)
        self.subscription(TaskStatus, topics.TASK_STATUS, self._on_status, qos.LATCHED)
        self.subscription(Image, topics.color(config.camera), self._on_image, qos.NEWEST)
        self.timer(0.1, self._draw_robot)
        self.timer(1.0 / config.image_rate_hz, self._draw_image)

    def clear(self) -> None:
        for gate in self._gates:
            gate.close()
        self._gates.clear()
        if self._bridge is not None:
            self._bridge.close()
            self._bridge = None
        if self._page is not None:
            self._page.close()
            self._page = None

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        return "", {"address": self._address} if self._page is not None else {}

    def _announce(self, config: ViewConfig) -> None:
        assert self._page is not None
        if is_loopback(config.bind):
            self._address = f"http://{config.bind}:{self._page.port}/"
            self.get_logger().info(f"page: {self._address}")
            if self._bridge is not None:
                self.get_logger().info(f"Foxglove websocket: ws://{config.bind}:{self._bridge.port}/")
            return
        token = config.token or new_token()
        ports = [(config.port, self._page.port, "http", "page")]
        if self._bridge is not None:
            ports.append((config.websocket_port, self._bridge.port, "ws", "Foxglove websocket"))
        for port, upstream, scheme, what in ports:
            gate = TokenGate(config.bind, port, upstream, token)
            gate.start()
            self._gates.append(gate)
            self.get_logger().info(f"{what}: {scheme}://{config.bind}:{gate.port}/?token={token}")
        self._address = f"http://{config.bind}:{self._gates[0].port}/"

    def _on_robot(self, message: String) -> None:
        assert self._page is not None
        try:
            self._page.set_robot(message.data)
        except ConfigError as error:
            self.problem("robot", str(error))

    def _on_joints(self, message: JointState) -> None:
        self._positions.update(zip(message.name, message.position, strict=False))

    def _on_grasps(self, message: GraspArray) -> None:
        assert self._page is not None
        self._page.set_grasps(convert.grasp_set(message))
        self.meters.tick("grasps")

    def _on_cloud(self, message: PointCloud2) -> None:
        assert self._page is not None
        self._page.set_cloud(convert.cloud(message))

    def _on_segments(self, message: PointCloud2) -> None:
        assert self._page is not None
        self._page.set_segments(convert.cloud(message))

    def _on_plan(self, message: PathMsg) -> None:
        assert self._page is not None
        points = [p.pose.position for p in message.poses]
        self._page.set_plan(np.array([[p.x, p.y, p.z] for p in points]).reshape(-1, 3))

    def _on_status(self, message: TaskStatus) -> None:
        assert self._page is not None
        self._page.set_status(
            Status(message.stage, message.attempted, message.removed, message.failed, message.detail)
        )

    def _on_image(self, message: Image) -> None:
        self._image = message

    def _draw_robot(self) -> None:
        if self._page is not None and self._positions:
            self._page.set_joints(dict(self._positions))

    def _draw_image(self) -> None:
        if self._page is None or self._image is None:
            return
        try:
            self._page.set_image(convert.rgb(self._image))
        except DataError as error:
            self.problem("image", str(error))
        self._image = None


def main() -> None:
    assert rclpy is not None
    sys.exit(run(lambda: [ViewNode()]))
