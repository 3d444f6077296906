"""The arithmetic of the launch benchmark."""

import numpy as np
import pytest
from bench.launch.traffic import Series

pytestmark = pytest.mark.ros


def series(real_s: np.ndarray, simulated_s: np.ndarray) -> Series:
    return Series(real_s.tolist(), np.rint(simulated_s * 1e9).astype(int).tolist())


def test_a_world_at_half_speed_shows_in_factor_and_rate_but_not_in_gaps() -> None:
    simulated_s = np.arange(0.0, 10.0, 0.01)
    seen = series(2.0 * simulated_s, simulated_s)
    assert seen.real_time_factor().value == pytest.approx(0.5)
    assert seen.rate_hz() == pytest.approx(50.0)
    assert seen.largest_gap_ms() == pytest.approx(10.0)


def test_a_lost_message_is_a_gap_and_a_window_cuts_both_ends() -> None:
    at_s = np.delete(np.arange(0.0, 5.0, 0.01), 250)
    seen = series(at_s, at_s)
    assert seen.largest_gap_ms() == pytest.approx(20.0)
    assert seen.between(3.0, 4.0).largest_gap_ms() == pytest.approx(10.0)
    assert len(seen.between(3.0, 4.0).stamps_ns) == 100


def test_nothing_arrived_has_no_gap_and_no_rate() -> None:
    assert Series().rate_hz() == 0.0
    assert np.isnan(Series().largest_gap_ms())
    assert np.isnan(Series().real_time_factor().value)
