"""Arrivals and stamps of a running graph, and what they say about rates."""

import struct
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from tf2_msgs.msg import TFMessage

from sinew_nodes import convert, qos, topics
from sinew_policies.common.report import Metric

CAMERAS = ("scene_camera", "wrist_camera")
_NONE = float("nan")


@dataclass
class Series:
    """One topic, or one frame of /tf."""

    arrivals_s: list[float] = field(default_factory=list)  # monotonic
    stamps_ns: list[int] = field(default_factory=list)  # simulated

    def add(self, stamp_ns: int) -> None:
        self.arrivals_s.append(time.monotonic())
        self.stamps_ns.append(stamp_ns)

    def between(self, start_s: float, end_s: float) -> "Series":
        first, last = np.searchsorted(self.arrivals_s, (start_s, end_s))
        return Series(self.arrivals_s[first:last], self.stamps_ns[first:last])

    def rate_hz(self) -> float:
        """Messages per second of real time."""
        return (len(self.arrivals_s) - 1) / self._seconds() if len(self.arrivals_s) > 1 else 0.0

    def largest_gap_ms(self) -> float:
        """Between neighbouring stamps, so in simulated time."""
        return float(np.diff(np.sort(self.stamps_ns)).max()) / 1e6 if len(self.stamps_ns) > 1 else _NONE

    def real_time_factor(self) -> Metric:
        """Simulated per real time, with the 95 % interval of its mean over windows of about a second."""
        if len(self.stamps_ns) < 4:
            return Metric(_NONE, _NONE, _NONE, 0, "x")
        windows = min(max(2, int(self._seconds())), len(self.stamps_ns) - 1)
        cuts = np.linspace(0, len(self.stamps_ns) - 1, windows + 1).astype(int)
        simulated = np.diff(np.asarray(self.stamps_ns)[cuts]) / 1e9
        real = np.diff(np.asarray(self.arrivals_s)[cuts])
        value = float(simulated.sum() / real.sum())
        half = 1.96 * float(np.std(simulated / real, ddof=1)) / len(real) ** 0.5
        return Metric(value, value - half, value + half, len(real), "x")

    def _seconds(self) -> float:
        return self.arrivals_s[-1] - self.arrivals_s[0]


class Traffic:
    """Subscribes to clock, states, transforms and both colour images of a node's graph from now on."""

    def __init__(self, node: Node) -> None:
        self.clock, self.states = Series(), Series()
        self.cameras = {camera: Series() for camera in CAMERAS}
        self.frames: dict[str, Series] = {}
        node.create_subscription(
            Clock, topics.CLOCK, lambda m: self.clock.add(convert.stamp_ns(m.clock)), qos.CLOCK
        )
        node.create_subscription(JointState, topics.JOINT_STATES, self._on_states, qos.JOINT_STATES)
        node.create_subscription(TFMessage, topics.TF, self._on_transforms, qos.TF)
        for camera in CAMERAS:
            # Raw, because only the stamp is of interest here: it stands behind the four bytes of the encapsulation.
            node.create_subscription(
                Image, topics.color(camera), self._image_callback(self.cameras[camera]), qos.SENSOR, raw=True
            )

    def metrics(self, label: str, start_s: float, end_s: float) -> dict[str, Metric]:
        """Of what arrived between two monotonic times; at least some seconds of a living graph."""
        states = self.states.between(start_s, end_s)
        frames = {name: series.between(start_s, end_s) for name, series in self.frames.items()}
        count = min((len(series.stamps_ns) for series in frames.values()), default=0)
        gap_ms = max((series.largest_gap_ms() for series in frames.values()), default=_NONE)
        out = {
            f"{label}_real_time_factor": self.clock.between(start_s, end_s).real_time_factor(),
            f"{label}_joint_states_hz": _plain(states.rate_hz(), len(states.stamps_ns), "Hz"),
            f"{label}_joint_states_largest_gap": _plain(states.largest_gap_ms(), len(states.stamps_ns), "ms"),
            f"{label}_tf_largest_gap": _plain(gap_ms, count, "ms"),
            f"{label}_tf_moving_frames": _plain(len(frames), len(frames), ""),
        }
        for camera, series in self.cameras.items():
            part = series.between(start_s, end_s)
            out[f"{label}_{camera}_hz"] = _plain(part.rate_hz(), len(part.stamps_ns), "Hz")
        return out

    def _on_states(self, message: JointState) -> None:
        self.states.add(convert.stamp_ns(message.header.stamp))

    def _on_transforms(self, message: TFMessage) -> None:
        for transform in message.transforms:
            series = self.frames.setdefault(transform.child_frame_id, Series())
            series.add(convert.stamp_ns(transform.header.stamp))

    def _image_callback(self, series: Series) -> Any:
        def on_image(data: bytes) -> None:
            seconds, nanoseconds = struct.unpack_from("<iI", data, 4)
            series.add(seconds * 1_000_000_000 + nanoseconds)

        return on_image


def _plain(value: float, n: int, unit: str) -> Metric:
    return Metric(float(value), _NONE, _NONE, n, unit)
