import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_policies.pearl.calibration import expected_calibration_error, fit_temperature


def test_honest_probabilities_have_a_small_error_and_boasting_ones_a_large() -> None:
    rng = stream(0, "calibration")
    p = rng.uniform(0, 1, 20_000)
    z = (rng.uniform(0, 1, len(p)) < p).astype(np.float64)
    assert expected_calibration_error(p, z) < 0.02
    assert expected_calibration_error((p > 0.5).astype(np.float64), z) == pytest.approx(0.25, abs=0.02)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_order_within_pairs_does_not_matter(seed: int) -> None:
    rng = stream(seed, "order")
    p, z = rng.uniform(0.001, 0.999, 50), rng.choice([0.0, 0.5, 1.0], 50)
    swap = rng.uniform(size=50) < 0.5
    other = expected_calibration_error(np.where(swap, 1 - p, p), np.where(swap, 1 - z, z))
    assert expected_calibration_error(p, z) == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("planted", [0.2, 1.0, 30.0])
def test_the_planted_temperature_is_found(planted: float) -> None:
    rng = stream(1, "temperature")
    logits = rng.normal(0, 2, 40_000)
    z = (rng.uniform(size=len(logits)) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    assert fit_temperature(logits * planted, z) == pytest.approx(planted, rel=0.05)


def test_nan_is_refused() -> None:
    with pytest.raises(DataError, match="diverged"):
        fit_temperature(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(DataError, match="length > 0"):
        expected_calibration_error(np.array([]), np.array([]))
