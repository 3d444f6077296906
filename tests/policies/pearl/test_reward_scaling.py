import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.pearl.reward_scaling import CONTROLS, control_rewards, standardised


@given(seed=st.integers(0, 1000), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
@settings(deadline=None, max_examples=30)
def test_scale_and_shift_are_forgotten(seed: int, scale: float, shift: float) -> None:
    r = stream(seed, "r").normal(size=100)
    ours = standardised((scale * r + shift).astype(np.float32))
    assert ours.mean() == pytest.approx(0, abs=1e-5)
    assert ours.std() == pytest.approx(1, abs=1e-4)
    assert np.allclose(ours, standardised(r.astype(np.float32)), atol=2e-2)  # float32 of a shift of 10 at 0.001


def test_a_constant_reward_becomes_zero() -> None:
    assert not standardised(np.full(7, 0.1, np.float32)).any()


def test_controls() -> None:
    r = stream(0, "r").normal(size=50).astype(np.float32)
    zero, random, flipped = (control_rewards(name, r, 3) for name in CONTROLS)
    assert not zero.any()
    assert np.array_equal(np.sort(random), np.sort(r))
    assert not np.array_equal(random, r)
    assert np.array_equal(random, control_rewards("random", r, 3))
    assert np.array_equal(flipped, -r)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'flipped'"):
        control_rewards("fliped", np.ones(2, np.float32), 0)
    with pytest.raises(DataError, match=r"step 1 is not finite \(1 of 3\)"):
        standardised(np.array([0, np.nan, 1], np.float32))
    with pytest.raises(DataError, match="at least one"):
        standardised(np.array([], np.float32))
