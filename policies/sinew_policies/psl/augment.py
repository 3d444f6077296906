"""What training does to the layout branch's pictures, and evaluation does not: bicubic crops, jitter, a shift.

Brightness, contrast and saturation change by up to 30 %, hues by up to 0.3 of the colour circle, in random order;
the picture then moves by up to 4 px. Every environment has its own change, the same at all of its steps, so that
what moves between two pictures is what moved before the camera.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.resize import resize_and_crop

JITTER = 0.3
SHIFT_PX = 4

_GREY = (0.299, 0.587, 0.114)  # luma of red, green, blue, ITU-R BT.601


def augmented_crops(frames: Tensor, config: PSLConfig, draw: np.random.Generator) -> Tensor:
    """Crops (T, N, 3, S, S) in 0..255 of frames (T, N, H, W, 3) uint8; raises DataError as `resize_and_crop`."""
    crops = resize_and_crop(frames.flatten(0, 1), config.layout_size, "bicubic", antialias=config.antialias)
    by_environment = crops.view(*frames.shape[:2], *crops.shape[1:]).unbind(1)
    return torch.stack([shift(jitter(pictures, draw), draw) for pictures in by_environment], 1)


def jitter(pictures: Tensor, draw: np.random.Generator) -> Tensor:
    """Pictures (T, 3, H, W) in 0..255 under one random change of colours."""
    brightness, contrast, saturation = draw.uniform(1.0 - JITTER, 1.0 + JITTER, 3)
    turn = draw.uniform(-JITTER, JITTER)
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda x: _mixed(x, torch.zeros_like(x), brightness),
        lambda x: _mixed(x, _grey(x).mean((1, 2, 3), keepdim=True), contrast),
        lambda x: _mixed(x, _grey(x), saturation),
        lambda x: turn_hue(x, turn),
    ]
    for i in draw.permutation(len(changes)):
        pictures = changes[i](pictures)
    return pictures


def shift(pictures: Tensor, draw: np.random.Generator) -> Tensor:
    """Pictures (T, 3, H, W) moved by one random number of pixels in each direction; their borders are repeated."""
    height, width = pictures.shape[2:]
    top, left = draw.integers(0, 2 * SHIFT_PX + 1, 2)
    wide = F.pad(pictures, (SHIFT_PX,) * 4, mode="replicate")
    return wide[:, :, top : top + height, left : left + width]


def turn_hue(pictures: Tensor, turn: float) -> Tensor:
    """Pictures (..., 3, H, W) with all hues turned by `turn` of the colour circle.

    As through HSV, so the extremes of a pixel stay: a channel is v - c * max(0, min(k, 4 - k, 1)) with
    k = offset + 6 * hue, modulo 6.
    """
    red, green, blue = pictures.unbind(-3)
    value, darkest = pictures.amax(-3), pictures.amin(-3)
    chroma = value - darkest
    size = torch.where(chroma > 0.0, chroma, 1.0)
    sixths = torch.where(
        value == red,
        (green - blue) / size,
        torch.where(value == green, 2.0 + (blue - red) / size, 4.0 + (red - green) / size),
    )
    k = torch.stack([(offset + sixths + 6.0 * turn) % 6.0 for offset in (5.0, 3.0, 1.0)], -3)
    return value.unsqueeze(-3) - chroma.unsqueeze(-3) * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0)


def _mixed(pictures: Tensor, other: Tensor, share: float) -> Tensor:
    return (share * pictures + (1.0 - share) * other).clamp(0.0, 255.0)


def _grey(pictures: Tensor) -> Tensor:
    """(T, 1, H, W)."""
    return (pictures * pictures.new_tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True)
