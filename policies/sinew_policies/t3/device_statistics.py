"""Colour statistics of one device's frames: its own normalisation, and whether its channels are in order.

Part of the public training data has red and blue exchanged, and drivers differ too; nothing downstream fails
when they are, outputs are just wrong. So the first frames of a device are compared with what is expected.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64, U8
from sinew_policies.t3.preprocess import Normalisation, Preprocessing, check_frame

_STEP = 4  # every fourth row and column suffices for a mean
_LEAST_CONTRAST = 0.01  # red minus blue; below it both orders look alike
_ALIKE = 0.15  # distance of mean colours up to which a device resembles the expected one
_MIN_STD = 1e-3


class Channels(Enum):
    IN_ORDER = "in order"
    SWAPPED = "swapped"
    UNDECIDED = "undecided"  # red and blue too alike to tell
    UNLIKE = "unlike"  # the device looks like the expected one in neither order


@dataclass(frozen=True)
class ChannelReport:
    channels: Channels
    measured_mean: tuple[float, float, float]  # red, green, blue if channel_order is right
    expected_mean: tuple[float, float, float]
    n_frames: int


class DeviceStatistics:
    """Running mean and deviation over frames (H, W, 3), in red, green, blue by the stated channel order."""

    def __init__(self, how: Preprocessing) -> None:
        self._how = how
        self._sum: F64 = np.zeros(3)
        self._sum2: F64 = np.zeros(3)
        self._n_pixels = 0
        self.n_frames = 0

    def add(self, frame: U8) -> None:
        """Raises DataError for what `preprocess` refuses."""
        check_frame(frame, self._how)
        seen = frame[::_STEP, ::_STEP].reshape(-1, 3).astype(np.float64) / 255.0
        rgb = seen if self._how.channel_order == "rgb" else seen[:, ::-1]
        self._sum += rgb.sum(0)
        self._sum2 += (rgb**2).sum(0)
        self._n_pixels += len(rgb)
        self.n_frames += 1

    def normalisation(self) -> Normalisation:
        """The device's own, for a sensor that resembles no data set. Raises DataError before the first frame."""
        mean = self._mean()
        std = np.sqrt(np.maximum(self._sum2 / self._n_pixels - mean**2, _MIN_STD**2))
        return Normalisation(_triple(mean), _triple(std))

    def report(self) -> ChannelReport:
        """Compares with the stated normalisation. Raises DataError before the first frame."""
        mean, expected = self._mean(), np.array(self._how.normalisation.mean)
        return ChannelReport(_verdict(mean, expected), _triple(mean), _triple(expected), self.n_frames)

    def refuse_swapped(self, device: str) -> None:
        """Raises DataError when the frames so far have red and blue exchanged."""
        report = self.report()
        if report.channels is not Channels.SWAPPED:
            return
        other = "bgr" if self._how.channel_order == "rgb" else "rgb"
        colours = [", ".join(f"{v:.3f}" for v in mean) for mean in (report.measured_mean, report.expected_mean)]
        raise DataError(
            f"frames of '{device}', read as {self._how.channel_order}, have mean red, green, blue {colours[0]}; "
            f"expected about {colours[1]}: red and blue are swapped. Set channel_order to '{other}', or give the "
            "device's own normalisation if its light differs"
        )

    def _mean(self) -> F64:
        if not self.n_frames:
            raise DataError("no frame has been added yet; add the first frames of the device")
        return self._sum / self._n_pixels


def _verdict(mean: F64, expected: F64) -> Channels:
    # Exchanging red and blue changes the squared distance by 2 (r - b)(R - B), nothing else.
    contrast = float(expected[0] - expected[2])
    swapped = np.linalg.norm(mean[::-1] - expected)
    if min(float(np.linalg.norm(mean - expected)), float(swapped)) > _ALIKE:
        return Channels.UNLIKE
    if abs(contrast) < _LEAST_CONTRAST:
        return Channels.UNDECIDED
    agreement = float(mean[0] - mean[2]) / contrast  # 1 in order, -1 swapped
    if agreement < -0.5:
        return Channels.SWAPPED
    return Channels.IN_ORDER if agreement > 0.5 else Channels.UNDECIDED


def _triple(v: F64) -> tuple[float, float, float]:
    r, g, b = map(float, v)
    return r, g, b
