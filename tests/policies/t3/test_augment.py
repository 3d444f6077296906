import colorsys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sinew_policies.t3.augment import Augmentation, augmented, crop_box, jittered, turned_hue
from sinew_policies.t3.preprocess import Normalisation, Preprocessing, preprocess

UNIT = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
HOW = Preprocessing(UNIT, resize_px=64, image_px=56)
STILL = Augmentation(crop=False, flip=False, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)


def frame(seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:96, :128]
    return np.stack([x * 2 % 256, y * 2 % 256, (x + y) % 256], axis=2).astype(np.uint8)


def test_without_any_change_it_is_the_plain_preprocessing() -> None:
    # Hue passes through HSV of 8 bits, so a level may differ.
    view = augmented(frame(), HOW, STILL, np.random.default_rng(0))
    np.testing.assert_allclose(view, preprocess(frame(), HOW), atol=4 / 255)


def test_crops_have_the_stated_area_and_aspect_and_stay_inside() -> None:
    rng = np.random.default_rng(0)
    a = Augmentation()
    areas, aspects = [], []
    for _ in range(400):
        left, top, right, bottom = crop_box(320, 240, a, rng)
        assert 0 <= left < right <= 320
        assert 0 <= top < bottom <= 240
        areas.append((right - left) * (bottom - top) / (320 * 240))
        aspects.append((right - left) / (bottom - top))
    assert 0.075 < min(areas) < 0.15
    assert max(areas) > 0.85
    assert 0.72 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.37


def test_a_frame_that_fits_no_crop_gives_its_middle() -> None:
    left, top, right, bottom = crop_box(1000, 40, Augmentation(area=(1.0, 1.0)), np.random.default_rng(0))
    assert (bottom - top, right - left) == (40, 53)
    assert left == (1000 - 53) // 2


def test_flips_happen_half_of_the_time_each() -> None:
    only_flips = Augmentation(crop=False, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    plain = augmented(frame(), HOW, STILL, np.random.default_rng(0))
    versions = {"": plain, "h": plain[:, :, ::-1], "v": plain[:, ::-1], "hv": plain[:, ::-1, ::-1]}
    counts = dict.fromkeys(versions, 0)
    for seed in range(80):
        view = augmented(frame(), HOW, only_flips, np.random.default_rng(seed))
        counts[min(versions, key=lambda n: float(np.abs(versions[n] - view).mean()))] += 1
    assert min(counts.values()) > 8


def test_jitter_of_brightness_has_the_stated_range() -> None:
    grey = Image.fromarray(np.full((8, 8, 3), 100, np.uint8))
    only = Augmentation(brightness=0.4, contrast=0.0, saturation=0.0, hue=0.0)
    levels = [np.asarray(jittered(grey, only, np.random.default_rng(s))).mean() for s in range(200)]
    assert 59 <= min(levels) < 65
    assert 135 < max(levels) <= 141


def test_the_defaults_are_the_published_ones() -> None:
    assert Augmentation() == Augmentation(
        crop=True,
        area=(0.08, 1.0),
        aspect=(3 / 4, 4 / 3),
        flip=True,
        brightness=0.4,
        contrast=0.4,
        saturation=0.5,
        hue=0.3,
    )


def test_jitter_of_hue_has_the_stated_range() -> None:
    red = Image.fromarray(np.full((4, 4, 3), (200, 0, 0), np.uint8))
    only = Augmentation(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.3)
    views = [jittered(red, only, np.random.default_rng(s)) for s in range(200)]
    turns = np.array([colorsys.rgb_to_hsv(*np.asarray(view)[0, 0].tolist())[0] for view in views])
    turns[turns > 0.5] -= 1.0
    assert -0.305 < turns.min() < -0.28
    assert 0.28 < turns.max() < 0.305
    assert abs(turns.mean()) < 4 * 0.3 / np.sqrt(3 * 200)


@pytest.mark.parametrize(("change", "range_of"), [("contrast", 0.4), ("saturation", 0.5)])
def test_jitter_of_contrast_and_saturation_scales_differences(change: str, range_of: float) -> None:
    """Between pixels of one grey image, or between the channels of one colour."""
    left, right = ((80, 80, 80), (120, 120, 120)) if change == "contrast" else ((80, 100, 120),) * 2
    image = Image.fromarray(np.array([[left, right]], np.uint8))
    only = replace(Augmentation(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0), **{change: range_of})

    def difference(i: Image.Image) -> float:
        a = np.asarray(i).astype(np.float64)[0]
        return float(a[1, 0] - a[0, 0] if change == "contrast" else a[0, 2] - a[0, 0])

    factors = [difference(jittered(image, only, np.random.default_rng(s))) / 40.0 for s in range(200)]
    assert 1.0 - range_of - 0.05 <= min(factors) < 1.0 - 0.9 * range_of
    assert 1.0 + 0.9 * range_of < max(factors) <= 1.0 + range_of + 0.05


def test_a_third_of_the_circle_turns_red_to_green_and_keeps_grey() -> None:
    red = Image.fromarray(np.full((4, 4, 3), (200, 0, 0), np.uint8))
    np.testing.assert_allclose(np.asarray(turned_hue(red, 1 / 3))[0, 0], (0, 200, 0), atol=3)
    grey = Image.fromarray(np.full((4, 4, 3), 90, np.uint8))
    np.testing.assert_array_equal(np.asarray(turned_hue(grey, 0.3)), np.asarray(grey))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_same_generator_gives_the_same_view_in_any_channel_order(order: str) -> None:
    how = Preprocessing(UNIT, order, 64, 56)
    stored = frame() if order == "rgb" else frame()[:, :, ::-1]
    a = augmented(stored, how, Augmentation(), np.random.default_rng(5))
    b = augmented(frame(), HOW, Augmentation(), np.random.default_rng(5))
    np.testing.assert_array_equal(a, b)
    assert a.shape == (3, 56, 56)
