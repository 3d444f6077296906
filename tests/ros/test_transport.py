"""Camera images and large clouds between two processes, best effort, with the shipped DDS profile: none is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sinew_policies.common.dds import dds_environment, free_domain

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

COMMON = """
import array, sys, time
import rclpy
from pathlib import Path
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
IMAGES, CLOUDS = 200, 100
READY = Path(__file__).with_name("ready")
rclpy.init()
"""

SENDER = (
    COMMON
    + """
node = rclpy.create_node("sender")
image = Image(height=480, width=640, encoding="rgb8", step=1920, data=array.array("B", bytes(640 * 480 * 3)))
cloud = PointCloud2(height=1, width=300_000, point_step=16, data=array.array("B", bytes(300_000 * 16)))
images = node.create_publisher(Image, "image", QOS)
clouds = node.create_publisher(PointCloud2, "cloud", QOS)
deadline = time.monotonic() + 20
while images.get_subscription_count() < 1 or clouds.get_subscription_count() < 1 or not READY.exists():
    assert time.monotonic() < deadline, "no subscriber appeared"
    time.sleep(0.05)
start = time.monotonic()
for i in range(IMAGES):  # 20 Hz; a cloud with every second image is 10 Hz
    time.sleep(max(0.0, start + i / 20 - time.monotonic()))
    image.header.frame_id = str(i)
    images.publish(image)
    if i % 2 == 0:
        clouds.publish(cloud)
sys.stdin.read()  # stays until the receiver has counted
"""
)

RECEIVER = (
    COMMON
    + """
node = rclpy.create_node("receiver")
counts = {"image": 0, "cloud": 0}
def count(name):
    def hear(_): counts[name] += 1
    return hear
matched = set()
def events(name):
    # The sender knows its readers before they know it: what it sends in between is nobody's loss.
    def on_matched(_):
        matched.add(name)
        if len(matched) == 2:
            READY.touch()
    return SubscriptionEventCallbacks(matched=on_matched)
node.create_subscription(Image, "image", count("image"), QOS, raw=True, event_callbacks=events("image"))
node.create_subscription(PointCloud2, "cloud", count("cloud"), QOS, raw=True, event_callbacks=events("cloud"))
deadline = time.monotonic() + 60
quiet = None
while time.monotonic() < deadline and counts != {"image": IMAGES, "cloud": CLOUDS}:
    before = dict(counts)
    rclpy.spin_once(node, timeout_sec=0.5)
    if counts != before or not counts["image"]:
        quiet = time.monotonic()
    elif time.monotonic() - quiet > 3.0:
        break
print(counts["image"], counts["cloud"], flush=True)
"""
)


def test_no_image_and_no_cloud_is_lost_between_two_processes(tmp_path: Path) -> None:
    environment = {**os.environ, "ROS_DOMAIN_ID": str(free_domain({}))}
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        environment.pop(name, None)
    environment.update(dds_environment(environment))
    for name, code in (("sender", SENDER), ("receiver", RECEIVER)):
        (tmp_path / f"{name}.py").write_text(code)
    receiver = subprocess.Popen(
        [sys.executable, str(tmp_path / "receiver.py")], env=environment, stdout=subprocess.PIPE, text=True
    )
    sender = subprocess.Popen([sys.executable, str(tmp_path / "sender.py")], env=environment, stdin=subprocess.PIPE)
    try:
        out, _ = receiver.communicate(timeout=90)
    finally:
        receiver.kill()
        sender.communicate(timeout=20)
    assert out.split() == ["200", "100"]
