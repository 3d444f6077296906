"""Jitter and shift: one change per environment over time, within the stated bounds, colours as HSV turns them."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sinew_policies.common.seeds import stream
from sinew_policies.psl.augment import JITTER, SHIFT_PX, augmented_crops, jitter, shift, turn_hue
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.resize import resize_and_crop

TINY = PSLConfig.tiny()


def frames(steps: int, envs: int) -> Tensor:
    drawn = stream(0, "augment").integers(0, 256, (steps, envs, 48, 64, 3), np.uint8)
    return torch.from_numpy(drawn)


def test_an_environment_keeps_its_change_over_time_and_has_one_of_its_own() -> None:
    same = frames(1, 1).expand(3, 4, -1, -1, -1)
    crops = augmented_crops(same, TINY, stream(1, "a"))
    assert crops.shape == (3, 4, 3, 32, 32)
    torch.testing.assert_close(crops, crops[:1].expand_as(crops))
    for i in range(3):
        assert (crops[0, i] - crops[0, i + 1]).abs().max() > 5.0
    assert torch.equal(crops, augmented_crops(same, TINY, stream(1, "a")))
    assert not torch.equal(crops, augmented_crops(same, TINY, stream(2, "a")))
    assert 0.0 <= crops.min() <= crops.max() <= 255.0


def test_without_jitter_and_shift_the_crops_are_bicubic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinew_policies.psl.augment.JITTER", 0.0)
    monkeypatch.setattr("sinew_policies.psl.augment.SHIFT_PX", 0)
    seen, config = frames(2, 3), replace(TINY, layout_kernel="bilinear")
    plain = resize_and_crop(seen.flatten(0, 1), 32, "bicubic", antialias=False).view(2, 3, 3, 32, 32)
    torch.testing.assert_close(augmented_crops(seen, config, stream(0, "a")), plain, atol=1e-3, rtol=0)


def test_grey_pictures_change_in_brightness_alone_and_within_bounds() -> None:
    grey = torch.full((2, 3, 8, 8), 100.0)
    levels = []
    for seed in range(200):
        out = jitter(grey, stream(seed, "grey"))
        torch.testing.assert_close(out, out[:1, :1, :1, :1].expand_as(out), atol=1e-2, rtol=0)
        levels.append(float(out[0, 0, 0, 0]))
    assert 100 * (1 - JITTER) - 0.01 <= min(levels) < 75
    assert 125 < max(levels) <= 100 * (1 + JITTER) + 0.01


def test_hues_turn_as_in_hsv() -> None:
    pictures = torch.from_numpy(stream(0, "hue").uniform(0.0, 255.0, (1, 3, 12, 12)))
    pictures[0, :, 0, :3] = torch.tensor(
        [[255.0, 0.0, 7.0], [255.0, 0.0, 7.0], [0.0, 0.0, 7.0]]
    )  # yellow, black, grey
    for turn in (-0.3, 0.0, 0.1, 0.3):
        got = turn_hue(pictures, turn)[0].flatten(1).T
        for pixel, turned in zip(pictures[0].flatten(1).T.tolist(), got.tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(x / 255.0 for x in pixel))
            expected = [255.0 * x for x in colorsys.hsv_to_rgb((h + turn) % 1.0, s, v)]
            np.testing.assert_allclose(turned, expected, atol=1e-6)


def test_a_shift_is_a_window_of_the_repeated_border() -> None:
    pictures = torch.arange(2 * 3 * 10 * 12, dtype=torch.float32).view(2, 3, 10, 12)
    wide = F.pad(pictures, (SHIFT_PX,) * 4, mode="replicate")
    windows = {
        (y, x): wide[:, :, y : y + 10, x : x + 12] for y in range(2 * SHIFT_PX + 1) for x in range(2 * SHIFT_PX + 1)
    }
    met = set()
    for seed in range(150):
        out = shift(pictures, stream(seed, "shift"))
        met |= {at for at, window in windows.items() if torch.equal(out, window)}
        assert any(torch.equal(out, window) for window in windows.values())
    assert {y for y, _ in met} == {x for _, x in met} == set(range(2 * SHIFT_PX + 1))
