"""The cache never changes a result, encodes each pose once and stays within its size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.visual_cache import VisualCache


@given(
    batches=st.lists(st.lists(st.one_of(st.none(), st.integers(0, 6)), min_size=1, max_size=6), max_size=8),
    capacity=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_codes_are_those_of_the_frames_whatever_was_kept(batches: list[list[int | None]], capacity: int) -> None:
    cache, encoded = VisualCache(capacity), 0

    def encode(frames: torch.Tensor) -> torch.Tensor:
        nonlocal encoded
        encoded += len(frames)
        return frames.float().mean((1, 2)) * 3.0

    for keys in batches:
        frames = torch.tensor([99 if k is None else k for k in keys], dtype=torch.uint8).view(-1, 1, 1, 1)
        frames = frames.expand(-1, 2, 2, 3)
        assert torch.equal(cache.codes(keys, frames, encode), frames.float().mean((1, 2)) * 3.0)
        assert len(cache) <= capacity
    assert encoded == cache.misses
    assert cache.hits + cache.misses == sum(map(len, batches))


def test_a_known_pose_is_not_encoded_again_until_it_is_dropped_or_cleared() -> None:
    cache, seen = VisualCache(2), []

    def look(*keys: object) -> None:
        cache.codes(keys, torch.zeros(len(keys), 1, 1, 3), lambda f: (seen.append(len(f)), f.flatten(1))[1])

    look("a", "b", "a")
    look("a")  # "b" is now the oldest
    look("c")
    look("a")
    assert seen == [2, 1]
    look("b")
    assert seen == [2, 1, 1]
    cache.clear()
    look("b")
    assert seen == [2, 1, 1, 1]


def test_keys_must_match_frames() -> None:
    with pytest.raises(DataError, match="1 pose keys for 2 frames"):
        VisualCache().codes(["a"], torch.zeros(2, 1, 1, 3), lambda f: f)
    with pytest.raises(ConfigError, match="at least 1"):
        VisualCache(0)
