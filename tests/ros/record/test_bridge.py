"""Raw CDR in, a readable MCAP with full schemas out."""

import json
from pathlib import Path

import numpy as np
import pytest
import rclpy
from mcap.reader import make_reader
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, JointState
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from sinew_nodes.record.bridge import Bridge
from sinew_nodes.record.schema import ros2msg_schema
from sinew_nodes.record.video import VideoWriter
from sinew_policies.common.errors import ConfigError

assert rclpy is not None


def test_schema_holds_every_type_that_the_message_uses() -> None:
    text = ros2msg_schema("sensor_msgs/msg/JointState").decode()
    assert "float64[] position" in text
    assert "MSG: std_msgs/Header" in text
    assert "MSG: builtin_interfaces/Time" in text


def test_unknown_type_is_named() -> None:
    with pytest.raises(ConfigError, match="sensor_msgs/msg/Nonsense"):
        ros2msg_schema("sensor_msgs/msg/Nonsense")


def test_recorded_bytes_come_back_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    bridge = Bridge(mcap=path)
    image = Image(height=2, width=3, encoding="rgb8", step=9, data=bytes(range(18)))
    raw = serialize_message(image)
    bridge.log("/scene_camera/color/image_raw", "sensor_msgs/msg/Image", raw, 123)
    bridge.close()
    with path.open("rb") as stream:
        [(schema, channel, message)] = list(make_reader(stream).iter_messages())
    assert schema is not None
    assert (schema.name, schema.encoding, channel.message_encoding) == (
        "sensor_msgs/msg/Image",
        "ros2msg",
        "cdr",
    )
    assert message.log_time == 123
    assert deserialize_message(message.data, Image) == image


def test_an_existing_recording_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"run\.mcap"):
        Bridge(mcap=path)
    assert path.read_bytes() == b"precious"


def test_video_can_be_decoded_again(tmp_path: Path) -> None:
    import av

    path = tmp_path / "run.mp4"
    with VideoWriter(path, rate_hz=10) as video:
        for i in range(12):
            video.write(np.full((48, 64, 3), 10 * i, np.uint8))
    with av.open(str(path)) as file:
        frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
    assert len(frames) == 12
    assert abs(float(frames[-1].mean()) - 110.0) < 6.0


def test_a_viewer_hears_of_topics_over_the_websocket() -> None:
    bridge = Bridge(websocket_port=0)
    try:
        with connect(
            f"ws://127.0.0.1:{bridge.port}/", subprotocols=[Subprotocol("foxglove.sdk.v1")], open_timeout=5
        ) as viewer:
            assert json.loads(viewer.recv(timeout=5))["op"] == "serverInfo"
            bridge.log("/joint_states", "sensor_msgs/msg/JointState", serialize_message(JointState()), 1)
            heard = json.loads(viewer.recv(timeout=5))
        assert heard["op"] == "advertise"
        [channel] = heard["channels"]
        assert (channel["topic"], channel["encoding"]) == ("/joint_states", "cdr")
        assert "float64[] position" in channel["schema"]
    finally:
        bridge.close()
