"""Which transferred labels a reward learns from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinew_policies.common.errors import DataError
from sinew_policies.pearl.confidence import confident
from sinew_policies.pearl.labels import PairLabels


def labels(z: list[float]) -> PairLabels:
    return PairLabels(np.array([[0, k + 1] for k in range(len(z))]), np.array(z))


def test_labels_near_a_tie_are_left_out_and_the_others_are_certain() -> None:
    kept = confident(labels([0.2, 0.26, 0.5, 0.74, 0.75, 1.0]), 0.5, "labels")
    np.testing.assert_array_equal(kept.pairs[:, 1], [1, 5, 6])
    np.testing.assert_array_equal(kept.z, [0.0, 1.0, 1.0])


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30), st.floats(0.0, 1.0))
def test_no_label_changes_sides_and_ties_never_stay(z: list[float], least: float) -> None:
    given_ = labels(z)
    try:
        kept = confident(given_, least, "labels")
    except DataError:
        assert np.abs(2 * given_.z - 1).max() < max(least, 1e-9)
        return
    before = given_.z[kept.pairs[:, 1] - 1]
    assert (np.sign(before - 0.5) == np.sign(kept.z - 0.5)).all()
    assert (np.abs(2 * before - 1) >= least).all()


def test_no_confident_label_is_an_error() -> None:
    with pytest.raises(DataError, match=r"most certain of 2 .* confidence 0\.40, expected at least 0\.5; lower"):
        confident(labels([0.3, 0.6]), 0.5, "labels")
