"""Colours of object masks, for pictures and clouds."""

import colorsys

import numpy as np

from sinew_policies.common.types import F32, U8


def mask_colors(rgb: U8, masks: F32) -> U8:
    """Tints points (N, 3) by the strongest of the object masks (O, N) where its probability exceeds 0.3."""
    if len(masks) == 0:
        return rgb
    best = masks.argmax(axis=0)  # (N,)
    strength = masks.max(axis=0)[:, None]  # (N, 1)
    hues = np.array([colorsys.hsv_to_rgb(i * 0.618 % 1.0, 0.8, 1.0) for i in range(len(masks))]) * 255.0
    tinted = (1.0 - strength) * rgb + strength * hues[best]
    return np.where(strength > 0.3, tinted, rgb).astype(np.uint8)
