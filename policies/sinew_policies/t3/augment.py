"""Random views of a tactile image for reconstruction and classification; pose pairs get none of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from sinew_policies.common.types import F32, U8
from sinew_policies.t3.preprocess import Preprocessing, check_frame

_TRIES = 10


@dataclass(frozen=True)
class Augmentation:
    """Published values. A factor of `brightness`, `contrast` or `saturation` b is uniform in 1 − b … 1 + b."""

    crop: bool = True
    area: tuple[float, float] = (0.08, 1.0)  # share of the image that a crop keeps
    aspect: tuple[float, float] = (3.0 / 4.0, 4.0 / 3.0)  # its width over its height
    flip: bool = True  # left-right and top-bottom, half of the time each
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.5
    hue: float = 0.3  # of the whole circle, either way


def augmented(frame: U8, how: Preprocessing, augmentation: Augmentation, rng: np.random.Generator) -> F32:
    """Random view (3, image_px, image_px) of a frame (H, W, 3), normalised.

    Raises DataError for what `preprocess` refuses.
    """
    check_frame(frame, how)
    rgb = frame if how.channel_order == "rgb" else frame[:, :, ::-1]
    image = Image.fromarray(np.ascontiguousarray(rgb))
    side = how.image_px
    if augmentation.crop:
        box = crop_box(image.width, image.height, augmentation, rng)
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    else:
        scale = how.resize_px / min(image.size)
        w, h = (max(how.resize_px, int(s * scale)) for s in image.size)
        left, top = round((w - side) / 2.0), round((h - side) / 2.0)
        image = image.resize((w, h), Image.Resampling.BILINEAR).crop((left, top, left + side, top + side))
    if augmentation.flip:
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    image = jittered(image, augmentation, rng)
    scaled = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255.0)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (how.normalisation.mean, how.normalisation.std))
    return np.ascontiguousarray((scaled - mean) / std)


def crop_box(
    width: int, height: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a crop of random area and aspect; where none fits, the middle of the image."""
    log_low, log_high = np.log(augmentation.aspect)
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*augmentation.area)
        aspect = np.exp(rng.uniform(log_low, log_high))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    aspect = float(np.clip(width / height, *augmentation.aspect))
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def jittered(image: Image.Image, augmentation: Augmentation, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue changed by random amounts in random order."""
    a = augmentation
    b, c, s = (rng.uniform(max(0.0, 1.0 - v), 1.0 + v) for v in (a.brightness, a.contrast, a.saturation))
    turn = rng.uniform(-a.hue, a.hue)
    steps: list[Callable[[Image.Image], Image.Image]] = [
        lambda i: ImageEnhance.Brightness(i).enhance(b),
        lambda i: ImageEnhance.Contrast(i).enhance(c),
        lambda i: ImageEnhance.Color(i).enhance(s),
        lambda i: turned_hue(i, turn),
    ]
    for number in rng.permutation(len(steps)):
        image = steps[number](image)
    return image


def turned_hue(image: Image.Image, turn: float) -> Image.Image:
    """Hue moved by `turn` of the circle, −1..1."""
    hue, saturation, value = image.convert("HSV").split()
    shifted = (np.asarray(hue).astype(np.int64) + round(turn * 255.0)) % 256
    return Image.merge("HSV", (Image.fromarray(shifted.astype(np.uint8)), saturation, value)).convert("RGB")
