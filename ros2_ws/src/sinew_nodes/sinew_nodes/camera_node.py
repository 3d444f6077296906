"""Camera: colour, aligned depth and both CameraInfos of one exposure under one stamp, and points if asked.

Any backend of the device registry; frames are taken by a thread of their own, so a slow or stuck camera blocks
nothing else. A camera that falls silent is reported, and publishing resumes when it comes back.
"""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from sinew_hardware import registry
from sinew_hardware.interfaces import Camera
from sinew_nodes import convert, qos, spin, topics
from sinew_nodes.base import SinewNode
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_policies.common import pointcloud
from sinew_policies.common.errors import DeviceError
from sinew_policies.common.types import CameraFrame

_SILENT_S = 2.0
_FIRST_FRAME_S = 8.0  # making a graphics context can take seconds


@dataclass(frozen=True)
class CameraNodeConfig:
    camera: str = parameter("scene_camera", "name of the camera, prefix of its topics")
    backend: str = parameter("sim", "device backend", choices=registry.backends("camera"))
    source: str = parameter("", "what the backend opens: serial number, device path or world name; empty: default")
    depth_encoding: str = parameter("16UC1", "16UC1 millimetres or 32FC1 metres", choices=("16UC1", "32FC1"))
    publish_points: bool = parameter(False, "also publish a coloured cloud in the optical frame")
    points_stride: int = parameter(2, "every n-th pixel in both directions makes a point", low=1, high=16)
    frame_id: str = parameter("", "optical frame; empty: the backend's own")
    connect_timeout_s: float = parameter(20.0, "wait for the camera this long, s", low=0.1, high=300.0)


class CameraNode(SinewNode[CameraNodeConfig]):
    config_type = CameraNodeConfig

    def __init__(self, name: str = "camera_node", make: Callable[[CameraNodeConfig], Camera] | None = None) -> None:
        super().__init__(name)
        self._make = make or _from_registry
        self._stop_grabbing = threading.Event()
        self._thread: threading.Thread | None = None

    def build(self, config: CameraNodeConfig) -> None:
        self._camera = self._make(config)
        self._camera.connect(config.connect_timeout_s)
        self.on_clear(self._camera.close)
        self._frame_id = config.frame_id or self._camera.optical_frame
        name = config.camera
        self._color = self.publisher(Image, topics.color(name), qos.SENSOR)
        self._color_info = self.publisher(CameraInfo, topics.color_info(name), qos.SENSOR)
        self._depth = self.publisher(Image, topics.depth(name), qos.SENSOR)
        self._depth_info = self.publisher(CameraInfo, topics.depth_info(name), qos.SENSOR)
        self._points = (
            self.publisher(PointCloud2, topics.points(name), qos.SENSOR) if config.publish_points else None
        )

    def start(self) -> None:
        self._camera.activate()
        self._stop_grabbing = threading.Event()
        self._thread = threading.Thread(target=self._grab, args=(self._stop_grabbing,), name="grab", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop_grabbing.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        self._camera.deactivate()

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        rate = reading.rates_hz.get("frames")
        if not self.is_active or rate is None:
            return "", {}
        wanted = self._camera.rate_hz
        slow = f"camera delivers {rate:.1f} of {wanted:.0f} frames per second" if rate < 0.5 * wanted else ""
        return slow, {"wanted_hz": f"{wanted:.1f}"}

    def _grab(self, stop: threading.Event) -> None:
        seq, heard = -1, time.monotonic()
        while not stop.is_set():
            try:
                frame = self._camera.wait(seq, 0.25)
            except DeviceError as error:
                if time.monotonic() - heard > (_SILENT_S if seq >= 0 else _FIRST_FRAME_S) and not stop.is_set():
                    self.problem("silent", f"camera '{self.config.camera}' is silent: {error}")
                    if not self._camera.health().ok and not stop.wait(_SILENT_S):
                        self._recover()
                stop.wait(0.01)
                continue
            self.problem("silent", "")
            if seq >= 0 and frame.seq > seq + 1:
                self.meters.count("frames_skipped", frame.seq - seq - 1)
            seq, heard = frame.seq, time.monotonic()
            if not stop.is_set():
                self.publish_frame(frame)

    def _recover(self) -> None:
        try:
            self._camera.recover()
        except DeviceError as error:
            self.get_logger().debug(f"not yet: {error}")
        else:
            self.get_logger().info(f"camera '{self.config.camera}' is back")

    def publish_frame(self, frame: CameraFrame) -> None:
        """All messages of one exposure; they carry its stamp and frame."""
        self.meters.record_ms("age", (time.monotonic_ns() - frame.t_mono_ns) * 1e-6)
        with self.meters.stage("publish"):
            info = convert.camera_info_msg(frame.model, self._frame_id, frame.stamp_ns)
            self._color_info.publish(info)
            self._depth_info.publish(info)
            self._color.publish(convert.rgb_image_msg(frame.color, self._frame_id, frame.stamp_ns))
            self._depth.publish(
                convert.depth_image_msg(frame.depth_m, self._frame_id, frame.stamp_ns, self.config.depth_encoding)
            )
        if self._points is not None and self._points.get_subscription_count():
            with self.meters.stage("points"):
                cloud = pointcloud.from_depth(frame, np.eye(4), stride=self.config.points_stride)
                msg = convert.cloud_msg(cloud)
                msg.header.frame_id = self._frame_id
                self._points.publish(msg)
        self.meters.tick("frames")


def _from_registry(config: CameraNodeConfig) -> Camera:
    given = {"world": config.source} if config.backend == "sim" else {"source": config.source}
    if not config.source:
        given = {}
    return registry.create("camera", config.backend, camera=config.camera, **given)


def main() -> int:
    return spin.run(lambda: [CameraNode()])


if __name__ == "__main__":
    sys.exit(main())
