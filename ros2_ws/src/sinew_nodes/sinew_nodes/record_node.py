"""Records a run: every topic as raw CDR into MCAP, the camera as a short video."""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import sys
from dataclasses import dataclass
from pathlib import Path

from sensor_msgs.msg import Image

from sinew_nodes import convert, qos, topics
from sinew_nodes.base import SinewNode
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_nodes.record.bridge import Bridge
from sinew_nodes.record.tap import TopicTap
from sinew_nodes.record.video import VideoWriter
from sinew_nodes.spin import run
from sinew_policies.common.errors import ConfigError, DataError


@dataclass(frozen=True)
class RecordConfig:
    directory: str = parameter("runs/last", "folder of run.mcap and run.mp4; must not hold an earlier recording")
    camera: str = parameter("scene_camera", "camera of the video")
    image_rate_hz: float = parameter(2.0, "images per second kept in the MCAP file; 0: all", low=0.0, high=60.0)
    video_rate_hz: int = parameter(10, "frames per second of the video", low=1, high=60)


class RecordNode(SinewNode[RecordConfig]):
    config_type = RecordConfig

    def __init__(self) -> None:
        super().__init__("record_node")
        self._bridge: Bridge | None = None
        self._video: VideoWriter | None = None
        self._tap: TopicTap | None = None

    def build(self, config: RecordConfig) -> None:
        folder = Path(config.directory).expanduser()
        for name in ("run.mcap", "run.mp4"):
            if (folder / name).exists():
                raise ConfigError(f"{folder / name} exists and is not overwritten; name another directory")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write to {folder}: {error}; name another directory") from error
        self._folder = folder
        self._bridge = Bridge(mcap=folder / "run.mcap")
        self._video = VideoWriter(folder / "run.mp4", rate_hz=config.video_rate_hz)
        self._tap = TopicTap(self, self._bridge, rate_hz=self._rate_of)
        self._next_frame_ns = 0
        self.on_clear(self._tap.close)
        self._tap.refresh()
        self.timer(1.0, self._tap.refresh)
        self.subscription(Image, topics.color(config.camera), self._on_image, qos.NEWEST)
        self.get_logger().info(f"recording to {folder}")

    def clear(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None
        if self._bridge is not None:
            self._bridge.close()
            self._bridge = None

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        if self._tap is None or self._video is None:
            return "", {}
        return "", {"messages": str(self._tap.messages), "video_frames": str(self._video.frames)}

    def _rate_of(self, topic: str) -> float:
        heavy = topic.endswith("image_raw") or topic.endswith("points")
        return self.config.image_rate_hz if heavy else 0.0

    def _on_image(self, message: Image) -> None:
        stamp = convert.stamp_ns(message.header.stamp)
        if self._video is None or stamp < self._next_frame_ns:
            return
        period = 1_000_000_000 // self.config.video_rate_hz
        self._next_frame_ns = stamp + period - period // 4  # a camera at the same rate jitters a little
        try:
            self._video.write(convert.rgb(message))
        except DataError as error:
            self.problem("image", str(error))


def main() -> None:
    assert rclpy is not None
    sys.exit(run(lambda: [RecordNode()]))
