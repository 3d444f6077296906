"""Camera frames to the square crops that the two image branches look at.

The shorter side is scaled to the wanted size, the middle square is kept, and the result is rounded to whole
grey values. Published weights were trained without antialiasing (each output pixel samples 2 x 2 or 4 x 4
neighbours and nothing else); `antialias=True` widens the kernel by the scale, as current image libraries do.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from sinew_policies.common.errors import DataError


def resize_and_crop(frames: Tensor, size: int, kernel: str, *, antialias: bool) -> Tensor:
    """Frames (B, H, W, 3) uint8 to squares (B, 3, size, size), whole numbers 0..255 as float32.

    `kernel`: bilinear or bicubic. Raises DataError for another shape or type.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != torch.uint8:
        raise DataError(
            f"frames are {frames.dtype} of shape {tuple(frames.shape)}; expected uint8 (B, H, W, 3), "
            "channels RGB and last"
        )
    height, width = frames.shape[1:3]
    short = min(height, width)
    scaled = (size * height // short, size * width // short)
    image = F.interpolate(
        frames.permute(0, 3, 1, 2).float(), size=scaled, mode=kernel, align_corners=False, antialias=antialias
    )
    top, left = (round((side - size) / 2) for side in scaled)
    square = image[:, :, top : top + size, left : left + size]
    return square.clamp(0.0, 255.0).round()  # bicubic overshoots at edges
