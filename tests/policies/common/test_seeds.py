"""Streams depend on seed and name alone."""

import pytest

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream


def test_same_name_same_numbers_other_name_other_numbers() -> None:
    a, b, c = (stream(3, "scene", k).random(8).tolist() for k in (0, 0, 1))
    assert a == b
    assert a != c


def test_a_negative_seed_is_refused_with_its_value() -> None:
    with pytest.raises(ConfigError, match="seed is -1; expected 0 or more"):
        stream(-1, "scene")
