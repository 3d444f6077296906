"""Streams depend on seed and name alone."""

import pytest

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream


def test_same_name_same_numbers_other_name_other_numbers() -> None:
    a, b, c = (stream(3, "scene", k).random(8).tolist() for k in (0, 0, 1))
    assert a == b
    assert a != c


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_nothing_can_start_from_is_refused_with_its_value(seed: int) -> None:
    with pytest.raises(ConfigError, match=rf"seed is {seed}; expected 0 to 2\^63 - 1"):
        stream(seed, "scene")
