"""Laws of scripted preferences: the longer done wins, the larger return decides between equals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies.pearl.planted import task

from sinew_policies.common.errors import DataError
from sinew_policies.pearl.scripted import preference

# Few values, so that ties are frequent; halves, so that differences are exact.
TRIALS = st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4)), min_size=1, max_size=8)
EXAMPLES = settings(deadline=None, max_examples=60)


def _arrays(trials: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    done, halves = np.array(trials, np.int64).T
    return done, (0.5 * halves).astype(np.float32)


@given(trials=TRIALS)
@EXAMPLES
def test_success_duration_orders_first_and_return_second(trials: list[tuple[int, int]]) -> None:
    z = preference(*_arrays(trials))
    expected = [[0.5 + 0.5 * ((ours > theirs) - (ours < theirs)) for theirs in trials] for ours in trials]
    np.testing.assert_array_equal(z, expected)


@given(trials=TRIALS, margin=st.integers(0, 4))
@EXAMPLES
def test_only_equal_durations_tie_and_only_within_the_margin(trials: list[tuple[int, int]], margin: int) -> None:
    done, returns = _arrays(trials)
    z = preference(done, returns, 0.5 * margin)
    close = np.abs(returns[:, None] - returns[None, :]) <= 0.5 * margin
    np.testing.assert_array_equal(z == 0.5, (done[:, None] == done[None, :]) & close)
    untied = z != 0.5
    np.testing.assert_array_equal(z[untied], preference(done, returns)[untied])


@given(trials=TRIALS, margin=st.integers(0, 4), seed=st.integers(0, 1000))
@EXAMPLES
def test_labels_are_antisymmetric_and_follow_their_trials(
    trials: list[tuple[int, int]], margin: int, seed: int
) -> None:
    done, returns = _arrays(trials)
    z = preference(done, returns, 0.5 * margin)
    np.testing.assert_array_equal(z + z.T, 1.0)
    order = np.random.default_rng(seed).permutation(len(done))
    np.testing.assert_array_equal(preference(done[order], returns[order], 0.5 * margin), z[np.ix_(order, order)])


def test_a_larger_return_does_not_make_up_for_failure() -> None:
    """Returns as seen in Button Press: an expert that succeeds, and one of another task that does not."""
    np.testing.assert_array_equal(preference(np.array([40, 0]), np.array([143.0, 256.0])), [[0.5, 1.0], [0.0, 0.5]])


def test_segments_say_how_long_they_were_done_and_what_they_collected() -> None:
    segments = task("press", np.array([0.1, 0.9, 0.5]), np.random.default_rng(0))
    segments.successes[1, -4:] = True
    segments.successes[2, -3:] = True
    segments.rewards[:] = [[2.0], [0.5], [1.0]]
    z = preference(segments.success_steps, segments.returns)
    np.testing.assert_array_equal(z, [[0.5, 0.0, 0.0], [1.0, 0.5, 1.0], [1.0, 0.0, 0.5]])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_bad_trials_are_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="not finite"):
        preference(np.array([1, 2]), np.array([1.0, wrong]))
    with pytest.raises(DataError, match=r"shape \(2,\), returns \(3,\)"):
        preference(np.array([1, 2]), np.zeros(3))
    with pytest.raises(DataError, match="not empty"):
        preference(np.zeros(0, np.int64), np.zeros(0))
