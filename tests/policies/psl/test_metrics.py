"""Hand-computed episodes, the guarded ones included."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.metrics import Outcome, mean_metric, score, soft_spl, spl, success

INF = math.inf


def outcome(start: float, end: float, path: float, stopped: bool = True, steps: int = 10) -> Outcome:
    return Outcome(stopped, start, end, path, steps)


@pytest.mark.parametrize(
    ("o", "won", "expected_spl", "expected_soft"),
    [
        (outcome(4.0, 0.05, 8.0), True, 0.5, (1 - 0.05 / 4) * 0.5),
        (outcome(4.0, 0.05, 3.0), True, 1.0, 1 - 0.05 / 4),  # shorter than the grid's shortest path: never above 1
        (outcome(4.0, 1.0, 4.0), False, 0.0, 0.75),
        (outcome(4.0, 6.0, 4.0), False, 0.0, 0.0),  # went away
        (outcome(4.0, 0.05, 8.0, stopped=False, steps=500), False, 0.0, (1 - 0.05 / 4) * 0.5),  # limit at the goal
        (outcome(4.0, 0.05, 8.0, stopped=True, steps=500), True, 0.5, (1 - 0.05 / 4) * 0.5),  # STOP as last step
        (outcome(0.0, 0.0, 0.0, steps=1), True, 1.0, 1.0),  # starts at the goal and stays
        (outcome(0.0, 0.0, 2.0), True, 0.0, 0.0),  # starts there, walks around, comes back
        (outcome(0.0, 3.0, 3.0), False, 0.0, 0.0),
        (outcome(INF, INF, 7.0), False, 0.0, 0.0),  # unreachable
        (outcome(INF, 0.0, 7.0), False, 0.0, 0.0),  # unreachable by the map, whatever the end says
        (outcome(4.0, INF, 7.0), False, 0.0, 0.0),
        (outcome(4.0, 0.1, 4.0), False, 0.0, 0.975),  # on the border is not inside
    ],
)
def test_hand_computed_episodes(o: Outcome, won: bool, expected_spl: float, expected_soft: float) -> None:
    assert success(o) is won
    assert spl(o) == pytest.approx(expected_spl)
    assert soft_spl(o) == pytest.approx(expected_soft)


def test_means_count_unreachable_episodes_in_rates_and_not_in_distances() -> None:
    scores = score(
        [
            outcome(4.0, 0.05, 8.0),
            outcome(4.0, 2.05, 4.0, stopped=False),
            outcome(INF, INF, 1.0),
            outcome(2.0, 0.0, 2.0),
        ]
    )
    assert (scores.success.value, scores.stopped.value) == (0.5, 0.75)
    assert scores.spl.value == pytest.approx((0.5 + 1.0) / 4)
    assert (scores.distance_m.n, scores.unreachable) == (3, 1)
    assert scores.distance_m.value == pytest.approx(0.7)
    assert score([outcome(INF, INF, 0.0)]).distance_m.n == 0


positive = st.floats(0.0, 50.0) | st.just(INF)


@settings(max_examples=200, deadline=None)
@given(positive, positive, st.floats(0.0, 100.0), st.booleans())
def test_every_measure_is_a_fraction(start: float, end: float, path: float, stopped: bool) -> None:
    o = outcome(start, end, path, stopped)
    assert 0.0 <= spl(o) <= float(success(o)) <= 1.0
    assert 0.0 <= soft_spl(o) <= 1.0


def test_students_interval() -> None:
    m = mean_metric([0.5, 0.6, 0.7])
    assert m.value == pytest.approx(0.6)
    assert mean_metric([0.0, 0.1], "fraction", (0.0, 1.0)).low == 0.0
    assert m.high - m.value == pytest.approx(4.302652729911275 * 0.1 / math.sqrt(3))


def test_impossible_outcomes_are_named() -> None:
    with pytest.raises(DataError, match="distance_m is nan; expected metres"):
        outcome(1.0, math.nan, 1.0)
    with pytest.raises(DataError, match="path_m is infinite"):
        outcome(1.0, 1.0, INF)
    with pytest.raises(DataError, match="no episode was played"):
        score([])
    with pytest.raises(ConfigError, match="success_distance_m is 0"):
        success(outcome(1.0, 0.0, 1.0), 0.0)
