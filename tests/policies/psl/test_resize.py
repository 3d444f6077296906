"""Frames to crops: sizes, offsets and sampling; recorded crops are in tests/parity."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_policies.psl.resize import resize_and_crop


def noise(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(stream(0, "resize", height, width).integers(0, 256, (1, height, width, 3), "uint8"))


@given(
    height=st.integers(5, 60),
    width=st.integers(5, 60),
    size=st.integers(4, 40),
    kernel=st.sampled_from(["bilinear", "bicubic"]),
    antialias=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_crops_are_square_whole_and_within_range(
    height: int, width: int, size: int, kernel: str, antialias: bool
) -> None:
    crop = resize_and_crop(noise(height, width), size, kernel, antialias=antialias)
    assert crop.shape == (1, 3, size, size)
    assert torch.equal(crop, crop.round())
    assert crop.min() >= 0
    assert crop.max() <= 255


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_the_right_size_is_only_cropped_in_the_middle(kernel: str, antialias: bool) -> None:
    frame = noise(8, 13)
    got = resize_and_crop(frame, 8, kernel, antialias=antialias)
    # (13 - 8) / 2 rounds to the even 2.
    assert torch.equal(got, frame[:, :, 2:10].permute(0, 3, 1, 2).float())
    tall = resize_and_crop(frame.transpose(1, 2).contiguous(), 8, kernel, antialias=antialias)
    assert torch.equal(tall, got.transpose(2, 3))


def test_without_antialias_far_pixels_are_skipped_with_it_they_are_averaged() -> None:
    frame = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    frame[:, ::8] = 255  # a line that a fourfold step passes by
    assert resize_and_crop(frame, 16, "bilinear", antialias=False).max() == 0
    filtered = resize_and_crop(frame, 16, "bilinear", antialias=True)[:, :, 2:-2]
    assert 20 < filtered.mean() < 44  # an eighth of 255 is 32
    constant = torch.full((1, 40, 50, 3), 77, dtype=torch.uint8)
    for kernel in ("bilinear", "bicubic"):
        assert torch.all(resize_and_crop(constant, 16, kernel, antialias=False) == 77)


@pytest.mark.parametrize(
    "frames",
    [torch.zeros(1, 8, 8, 3), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, 3, dtype=torch.uint8)],
)
def test_other_layouts_and_types_are_refused(frames: torch.Tensor) -> None:
    with pytest.raises(DataError, match=r"expected uint8 \(B, H, W, 3\)"):
        resize_and_crop(frames, 4, "bilinear", antialias=False)
