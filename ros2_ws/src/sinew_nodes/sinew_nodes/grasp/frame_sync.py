"""Pairs colour, depth and CameraInfo of one exposure by their stamp; only the newest complete one is kept."""

import threading
import time
from dataclasses import dataclass

from sensor_msgs.msg import CameraInfo, Image

from sinew_nodes import convert
from sinew_policies.common.types import CameraFrame

_KEEP = 8  # incomplete exposures remembered


@dataclass
class _Parts:
    color: Image | None = None
    depth: Image | None = None
    info: CameraInfo | None = None


class FrameSync:
    """Thread-safe. `dropped` counts complete frames that a newer one replaced before anybody took them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: dict[int, _Parts] = {}
        self._newest: _Parts | None = None
        self._newest_ns = -1
        self._taken_ns = -1
        self._seq = 0
        self.dropped = 0

    def color(self, message: Image) -> None:
        self._put(convert.stamp_ns(message.header.stamp), color=message)

    def depth(self, message: Image) -> None:
        self._put(convert.stamp_ns(message.header.stamp), depth=message)

    def info(self, message: CameraInfo) -> None:
        self._put(convert.stamp_ns(message.header.stamp), info=message)

    def clear(self) -> None:
        with self._changed:
            self._pending.clear()
            self._newest, self._newest_ns, self._taken_ns = None, -1, -1

    def wait(self, not_before_ns: int, timeout_s: float) -> CameraFrame | None:
        """The newest frame exposed at or after `not_before_ns`; None after `timeout_s` of wall time.

        Raises DataError when its three messages contradict one another.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._newest is None or self._newest_ns < not_before_ns:
                left = deadline - time.monotonic()
                if left <= 0.0 or not self._changed.wait(left):
                    return None
            parts = self._newest
            self._taken_ns = self._newest_ns
            self._seq += 1
        assert parts.color is not None
        assert parts.depth is not None
        assert parts.info is not None
        return convert.camera_frame(parts.color, parts.depth, parts.info, self._seq)

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest complete frame, -1 before the first."""
        return self._newest_ns

    def _put(self, stamp: int, **part: Image | CameraInfo) -> None:
        with self._changed:
            if stamp < self._newest_ns - 1_000_000_000:
                self.clear()  # simulated time went back
            parts = self._pending.setdefault(stamp, _Parts())
            for name, message in part.items():
                setattr(parts, name, message)
            if parts.color is None or parts.depth is None or parts.info is None:
                while len(self._pending) > _KEEP:
                    del self._pending[min(self._pending)]
                return
            for old in [s for s in self._pending if s <= stamp]:
                del self._pending[old]
            if stamp <= self._newest_ns:
                return
            if self._newest is not None and self._newest_ns != self._taken_ns:
                self.dropped += 1
            self._newest, self._newest_ns = parts, stamp
            self._changed.notify_all()
