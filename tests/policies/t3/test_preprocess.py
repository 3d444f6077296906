"""Preprocessing and the check of channel order."""

from dataclasses import replace

import numpy as np
import pytest
from policies.t3.small_networks import frame

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.t3.device_statistics import Channels, DeviceStatistics
from sinew_policies.t3.preprocess import (
    NORMALISATIONS,
    SET_OF_SENSOR,
    Normalisation,
    Preprocessing,
    preprocess,
    preprocess_batch,
)

DIGIT = Preprocessing.of_sensor("digit")
PLAIN = Preprocessing(Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))


def test_uniform_colour_becomes_its_normalised_value() -> None:
    colour = np.array([10, 128, 250], np.uint8)
    out = preprocess(np.broadcast_to(colour, (240, 320, 3)), DIGIT)
    assert out.shape == (3, 224, 224)
    assert out.dtype == np.float32
    want = (colour / 255.0 - np.array(DIGIT.normalisation.mean)) / np.array(DIGIT.normalisation.std)
    np.testing.assert_allclose(out, np.broadcast_to(want[:, None, None], out.shape), atol=1e-5)


def test_centre_crop_takes_the_middle() -> None:
    image = np.zeros((256, 512, 3), np.uint8)
    image[:, 256 - 112 : 256 + 112] = 255
    assert preprocess(image, PLAIN).min() == 1.0


def test_flip_commutes_with_preprocessing() -> None:
    image = frame(size=(256, 320))
    np.testing.assert_allclose(preprocess(image[:, ::-1], PLAIN), preprocess(image, PLAIN)[:, :, ::-1], atol=2e-2)


def test_channel_order_is_obeyed() -> None:
    image = frame()
    np.testing.assert_array_equal(
        preprocess(image, DIGIT), preprocess(image[:, :, ::-1], replace(DIGIT, channel_order="bgr"))
    )


def test_batches_may_mix_sizes() -> None:
    assert preprocess_batch([frame(size=(60, 80)), frame(size=(80, 60))], DIGIT).shape == (2, 3, 224, 224)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((240, 320), np.uint8),
        np.zeros((240, 320, 4), np.uint8),
        np.zeros((240, 320, 3), np.float32),
    ],
)
def test_what_is_no_colour_image_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"expected uint8 \(height, width, 3\)"):
        preprocess(bad, DIGIT)


@pytest.mark.parametrize("size", [(8, 8), (0, 100), (40, 400)])
def test_sizes_that_no_sensor_has_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="at least 32"):
        preprocess(np.zeros((*size, 3), np.uint8), DIGIT)


def test_another_resolution_than_stated_is_refused() -> None:
    with pytest.raises(DataError, match=r"60 x 80 .* expected 240 x 320"):
        preprocess(frame(size=(60, 80)), replace(DIGIT, frame_px=(240, 320)))


def test_names_and_values_are_checked() -> None:
    with pytest.raises(ConfigError, match="unknown data set 'visgell'; did you mean 'visgel'"):
        Preprocessing.of_set("visgell")
    with pytest.raises(ConfigError, match="no data set is known for sensor 'uskin'"):
        Preprocessing.of_sensor("uskin")
    with pytest.raises(ConfigError, match="unknown channel_order 'gbr'"):
        replace(DIGIT, channel_order="gbr")
    with pytest.raises(ConfigError, match="std over 0"):
        Normalisation((0.1, 0.2, 0.3), (0.1, 0.0, 0.1))
    with pytest.raises(ConfigError, match="at most resize_px"):
        replace(DIGIT, image_px=300)
    assert set(SET_OF_SENSOR.values()) <= set(NORMALISATIONS)


DECIDABLE = [name for name, n in NORMALISATIONS.items() if abs(n.mean[0] - n.mean[2]) >= 0.01]


@pytest.mark.parametrize("name", DECIDABLE)
def test_swapped_channels_are_caught_in_every_set_whose_colours_tell(name: str) -> None:
    how = Preprocessing.of_set(name)
    seen = frame(mean=how.normalisation.mean)
    right, swapped = DeviceStatistics(how), DeviceStatistics(how)
    right.add(seen)
    swapped.add(np.ascontiguousarray(seen[:, :, ::-1]))
    assert right.report().channels is Channels.IN_ORDER
    right.refuse_swapped("left")
    assert swapped.report().channels is Channels.SWAPPED
    with pytest.raises(DataError, match=r"frames of 'left', read as rgb.*swapped\. Set channel_order to 'bgr'"):
        swapped.refuse_swapped("left")


def test_most_sets_can_be_told_apart_from_their_mirror() -> None:
    assert set(NORMALISATIONS) - set(DECIDABLE) == {"calandra17", "touch_and_go"}


def test_order_is_left_open_where_colours_do_not_tell() -> None:
    grey = DeviceStatistics(Preprocessing.of_set("calandra17"))
    grey.add(frame(mean=NORMALISATIONS["calandra17"].mean))
    assert grey.report().channels is Channels.UNDECIDED
    other = DeviceStatistics(DIGIT)
    other.add(frame(mean=(0.9, 0.9, 0.1)))
    assert other.report().channels is Channels.UNLIKE
    other.refuse_swapped("left")


def test_own_normalisation_of_a_device() -> None:
    images = [frame(seed, size=(200, 200), mean=(0.3, 0.5, 0.6)) for seed in range(3)]
    found = DeviceStatistics(DIGIT)
    for image in images:
        found.add(image)
    stack = np.stack(images).reshape(-1, 3) / 255.0
    np.testing.assert_allclose(found.normalisation().mean, stack.mean(0), atol=2e-3)
    np.testing.assert_allclose(found.normalisation().std, stack.std(0), atol=2e-3)
    assert found.n_frames == 3


def test_nothing_is_told_before_the_first_frame() -> None:
    with pytest.raises(DataError, match="no frame has been added"):
        DeviceStatistics(DIGIT).report()
