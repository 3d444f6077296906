"""Camera frames to network inputs: resize, centre crop, colour order, normalisation by data set.

The published weights saw every data set normalised by its own mean and deviation, so a sensor must be given those
of the set it resembles, or its own (see `device_statistics`). Frames are uint8; resizing is Pillow's bilinear.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F32, U8

CHANNEL_ORDERS = ("rgb", "bgr")

Triple = tuple[float, float, float]

_MIN_SIDE_PX = 32
_MAX_ASPECT = 4.0


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of red, green, blue on the scale 0..1."""

    mean: Triple
    std: Triple

    def __post_init__(self) -> None:
        numbers = np.array([self.mean, self.std], np.float64)
        if numbers.shape != (2, 3) or not np.isfinite(numbers).all() or (numbers[1] <= 0.0).any():
            raise ConfigError(
                f"normalisation has mean {self.mean} and std {self.std}; expected three finite numbers each, "
                "std over 0, on the scale 0..1"
            )


@dataclass(frozen=True)
class Preprocessing:
    """How frames of one device become inputs. `channel_order` is that of the frames, never guessed."""

    normalisation: Normalisation
    channel_order: str = "rgb"
    resize_px: int = 256  # shorter side
    image_px: int = 224  # centre crop; the ends of a 4:3 image are lost, as in training
    frame_px: tuple[int, int] | None = None  # height and width that frames must have; none: any

    def __post_init__(self) -> None:
        if self.channel_order not in CHANNEL_ORDERS:
            raise ConfigError(
                f"unknown channel_order '{self.channel_order}'; {name_hint(self.channel_order, CHANNEL_ORDERS)}"
            )
        if not 0 < self.image_px <= self.resize_px:
            raise ConfigError(f"image_px {self.image_px} must be positive and at most resize_px {self.resize_px}")

    @staticmethod
    def of_set(name: str, channel_order: str = "rgb") -> "Preprocessing":
        """With the statistics of a FoTa data set. Raises ConfigError for an unknown name."""
        return Preprocessing(normalisation_of(name), channel_order)

    @staticmethod
    def of_sensor(sensor: str, channel_order: str = "rgb") -> "Preprocessing":
        """With the statistics of the set whose images that encoder mostly saw.

        Raises ConfigError for a sensor without one.
        """
        if sensor not in SET_OF_SENSOR:
            raise ConfigError(
                f"no data set is known for sensor '{sensor}'; give its own normalisation, measured with "
                f"DeviceStatistics. {name_hint(sensor, SET_OF_SENSOR)}"
            )
        return Preprocessing.of_set(SET_OF_SENSOR[sensor], channel_order)


def preprocess(frame: U8, how: Preprocessing) -> F32:
    """Frame (H, W, 3) to network input (3, image_px, image_px), RGB.

    Raises DataError for frames that are no colour image, too small, or of another size than `how.frame_px`.
    """
    check_frame(frame, how)
    height, width = frame.shape[:2]
    rgb = frame if how.channel_order == "rgb" else frame[:, :, ::-1]
    image = Image.fromarray(np.ascontiguousarray(rgb))
    short, long = how.resize_px, int(how.resize_px * max(height, width) / min(height, width))
    size = (short, long) if width <= height else (long, short)  # width, height
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - how.image_px) / 2.0) for side in size)
    image = image.crop((left, top, left + how.image_px, top + how.image_px))
    table, pixels = _values(how.normalisation), np.asarray(image)
    out = np.empty((3, how.image_px, how.image_px), np.float32)
    for c in range(3):
        np.take(table[c], pixels[:, :, c], out=out[c], mode="clip")  # no level lies outside: clip saves the check
    return out


def preprocess_batch(frames: Sequence[U8], how: Preprocessing) -> Tensor:
    """(B, 3, image_px, image_px) of frames that may differ in size; faults as `preprocess`."""
    if not frames:
        raise DataError("no frames were given; expected at least one")
    return torch.from_numpy(np.stack([preprocess(frame, how) for frame in frames]))


def check_frame(frame: NDArray[np.generic], how: Preprocessing) -> None:
    """Raises DataError where `preprocess` would."""
    if not isinstance(frame, np.ndarray):
        raise DataError(f"a tactile frame is a {type(frame).__name__}; expected a uint8 array (height, width, 3)")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise DataError(
            f"a tactile frame is {frame.dtype} {frame.shape}; expected uint8 (height, width, 3): "
            "convert it to 8-bit colour first"
        )
    height, width = frame.shape[:2]
    if how.frame_px is not None and (height, width) != tuple(how.frame_px):
        raise DataError(
            f"a tactile frame is {height} x {width} (height x width); expected {how.frame_px[0]} x "
            f"{how.frame_px[1]}: set the camera to that resolution, or change frame_px of its preprocessing"
        )
    if min(height, width) < _MIN_SIDE_PX or max(height, width) > _MAX_ASPECT * min(height, width):
        raise DataError(
            f"a tactile frame is {height} x {width} (height x width); expected sides of at least {_MIN_SIDE_PX} "
            f"pixels and at most {_MAX_ASPECT:g} times as long as each other: check the camera's mode and crop"
        )


def normalisation_of(data_set: str) -> Normalisation:
    """Raises ConfigError for an unknown name."""
    if data_set not in NORMALISATIONS:
        raise ConfigError(f"unknown data set '{data_set}'; {name_hint(data_set, NORMALISATIONS)}")
    return NORMALISATIONS[data_set]


@lru_cache(maxsize=64)
def _values(normalisation: Normalisation) -> F32:
    """(3, 256) normalised value of every level of each channel: looking up is quicker than computing."""
    level = np.arange(256, dtype=np.float32) / np.float32(255.0)
    mean, std = (np.array(v, np.float32)[:, None] for v in (normalisation.mean, normalisation.std))
    return np.asarray((level - mean) / std)


# Statistics of 50 training images of each set at native size, as published; ImageNet's are their fallback.
NORMALISATIONS: dict[str, Normalisation] = {
    "visgel": Normalisation((0.36917, 0.51738, 0.51782), (0.13530, 0.11039, 0.10001)),
    "tvl": Normalisation((0.42094, 0.44041, 0.44151), (0.14661, 0.08972, 0.09041)),
    "touch_and_go": Normalisation((0.51808, 0.50300, 0.51457), (0.13893, 0.11343, 0.13497)),
    "calandra17": Normalisation((0.27307, 0.27307, 0.27307), (0.26252, 0.28064, 0.30760)),
    "yuan18": Normalisation((0.41745, 0.42082, 0.40049), (0.11456, 0.11639, 0.10868)),
    "ycb_real": Normalisation((0.51040, 0.51558, 0.57299), (0.06538, 0.09097, 0.12421)),
    "ycb_sim": Normalisation((0.52429, 0.51465, 0.60872), (0.06524, 0.08824, 0.11888)),
    "objectfolder": Normalisation((0.46676, 0.45028, 0.45292), (0.08171, 0.06973, 0.08618)),
    "tippur23_cylv0": Normalisation((0.48141, 0.24831, 0.30964), (0.07714, 0.07175, 0.07466)),
    "tippur23_cylv1": Normalisation((0.26948, 0.23950, 0.25199), (0.07708, 0.07323, 0.08599)),
    "cnc_Finray": Normalisation((0.01000, 0.04490, 0.07897), (0.06394, 0.14283, 0.20100)),
    "cnc_Finray2": Normalisation((0.00139, 0.02078, 0.10659), (0.01877, 0.10335, 0.23180)),
    "cnc_Wedge": Normalisation((0.24580, 0.30085, 0.35867), (0.18356, 0.14779, 0.18460)),
    "cnc_Mini": Normalisation((0.02172, 0.04152, 0.04152), (0.10158, 0.14423, 0.12185)),
    "cnc_Svelte": Normalisation((0.41175, 0.26801, 0.02041), (0.26641, 0.19636, 0.09754)),
    "cnc_DenseTact": Normalisation((0.20997, 0.28465, 0.26797), (0.29838, 0.36981, 0.33362)),
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

SET_OF_SENSOR: dict[str, str] = {
    "gs_green": "visgel",
    "gs_black": "objectfolder",
    "gs_tag": "touch_and_go",
    "gs_360_v2": "tippur23_cylv0",
    "digit": "tvl",
    "mini": "cnc_Mini",
    "wedge": "cnc_Wedge",
    "finray": "cnc_Finray",
    "svelte": "cnc_Svelte",
    "densetact": "cnc_DenseTact",
}
