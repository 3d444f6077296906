"""The camera node over a camera that shows what the test says; loss between processes at full size."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from ros_fakes.devices import FakeCamera
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from sinew_nodes import convert, qos, topics
from sinew_nodes.camera_node import CameraNode
from sinew_policies.common.errors import DeviceError

pytestmark = pytest.mark.ros


@pytest.fixture
def camera() -> FakeCamera:
    return FakeCamera()


@pytest.fixture
def node(graph: Any, camera: FakeCamera) -> CameraNode:
    node: CameraNode = graph.add(CameraNode("fake_camera_node", make=lambda _: camera))
    return node


def test_all_messages_of_an_exposure_share_stamp_and_frame(
    graph: Any, camera: FakeCamera, node: CameraNode
) -> None:
    node.set_parameters([node.get_parameter("publish_points").__class__("publish_points", value=True)])
    node.trigger_configure()
    name = "scene_camera"
    heard = [
        graph.listen(kind, topic, qos.SENSOR)
        for kind, topic in (
            (Image, topics.color(name)),
            (CameraInfo, topics.color_info(name)),
            (Image, topics.depth(name)),
            (CameraInfo, topics.depth_info(name)),
            (PointCloud2, topics.points(name)),
        )
    ]
    graph.wait(lambda: node._points is not None and node._points.get_subscription_count(), "subscriptions")
    node.trigger_activate()
    stamps = [1_000_000_000 + 50_000_000 * i for i in range(1, 4)]
    for i, stamp in enumerate(stamps, start=1):
        camera.show(i, stamp)
        graph.wait(lambda n=i: all(len(h) >= n for h in heard), f"exposure {i}")
    for messages in heard:
        assert [convert.stamp_ns(m.header.stamp) for m in messages] == stamps
        assert {m.header.frame_id for m in messages} == {"fake_optical_frame"}
    color, info, depth, _, points = (h[-1] for h in heard)
    frame = convert.camera_frame(color, depth, info)
    assert frame.model == camera.model
    assert np.allclose(frame.depth_m, 0.5)
    cloud = convert.cloud(points)
    assert len(cloud) == 24 * 32
    assert np.allclose(cloud.xyz[:, 2], 0.5)


def test_a_camera_that_fails_is_reported_and_comes_back(graph: Any, camera: FakeCamera, node: CameraNode) -> None:
    images = graph.listen(Image, topics.color("scene_camera"), qos.SENSOR)
    node.trigger_configure()
    node.trigger_activate()
    graph.wait(lambda: node._color.get_subscription_count(), "subscription")
    camera.show(1, 1)
    graph.wait(lambda: images, "the first image")
    camera.fault = DeviceError("USB lost")
    graph.wait(lambda: "USB lost" in node._problems.get("silent", ""), "the report")
    camera.fault = None
    camera.show(2, 2)
    graph.wait(lambda: len(images) == 2, "the next image")
    assert "silent" not in node._problems


def test_a_missing_camera_fails_the_configuration(camera: FakeCamera, node: CameraNode) -> None:
    camera.fault = DeviceError("no camera on USB 3; check the cable")
    node.trigger_configure()
    assert node._state_machine.current_state[1] == "unconfigured"
    assert "no camera on USB 3" in node._problems["transition"]


PUBLISHER = """
import itertools, numpy as np, rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from sinew_nodes import convert, qos
rclpy.init()
node = Node("image_source")
out = node.create_publisher(Image, "big_image", qos.SENSOR)
image, number = np.zeros((480, 640, 3), np.uint8), itertools.count(1)
node.create_timer(0.05, lambda: out.publish(convert.rgb_image_msg(image, "camera", next(number))))
rclpy.spin(node)
"""


def test_no_image_is_lost_between_two_processes(graph: Any) -> None:
    images = graph.listen(Image, "big_image", qos.SENSOR)
    source = subprocess.Popen([sys.executable, "-c", PUBLISHER], env=dict(os.environ))
    try:
        graph.wait(lambda: len(images) >= 60, "60 images", 40.0)
    finally:
        source.kill()
        source.wait(5.0)
    stamps = [convert.stamp_ns(m.header.stamp) for m in images]
    assert stamps == list(range(stamps[0], stamps[0] + len(stamps)))  # whatever came before the two had met
