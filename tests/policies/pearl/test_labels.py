"""Laws of label completion and transfer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.pearl.labels import (
    MISSING,
    LabelMatrix,
    PairLabels,
    borda,
    bradley_terry,
    complete,
    from_matrix,
    transfer,
)


def _order(n: int) -> np.ndarray:
    """Segment 0 is the worst, n - 1 the best."""
    rank = np.arange(n)
    return 0.5 + 0.5 * np.sign(rank[:, None] - rank[None, :])


def _plan(rng: np.random.Generator, m: int, n: int) -> np.ndarray:
    plan = rng.random((1, m, n)) * (rng.random((1, m, n)) > 0.5)
    return plan / max(plan.sum(), 1e-12)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), m=st.integers(1, 6), n=st.integers(1, 6), share=st.floats(0.2, 1))
def test_transferred_labels_are_antisymmetric_and_bounded(seed: int, m: int, n: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    z = rng.random((m, m))
    z = 0.5 * (z + 1 - z.T)
    known = rng.random((m, m)) < share
    got, mass = transfer(_plan(rng, m, n), LabelMatrix(z, known | known.T))
    np.testing.assert_allclose(got + np.swapaxes(got, 1, 2), 1.0, atol=1e-12)
    assert got.min() >= -1e-12
    assert got.max() <= 1 + 1e-12
    assert mass.min() >= 0
    assert mass.max() <= 1
    np.testing.assert_array_equal(got[mass == 0], 0.5)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_a_permutation_carries_labels_unchanged(n: int) -> None:
    """The unnormalised product would give z / n^2."""
    order = np.random.default_rng(n).permutation(n)
    z = _order(n)
    plan = np.zeros((1, n, n))
    plan[0, np.arange(n), order] = 1.0 / n
    got, mass = transfer(plan, LabelMatrix(z, np.ones((n, n), bool)))
    expected = np.empty_like(z)
    expected[np.ix_(order, order)] = z
    np.testing.assert_allclose(got[0], expected)
    np.testing.assert_allclose(mass, 1.0)


def test_unlabelled_mass_weighs_nothing() -> None:
    z = np.array([[0.5, 1.0, 0.0], [0.0, 0.5, 0.5], [1.0, 0.5, 0.5]])
    known = np.array([[True, True, False], [True, True, False], [False, False, True]])
    plan = np.array([[[0.25, 0.0], [0.0, 0.5], [0.25, 0.0]]])
    got, mass = transfer(plan, LabelMatrix(z, known))
    assert got[0, 0, 1] == pytest.approx(1.0)  # from the pair (0, 1) alone, (2, 1) is not labelled
    assert mass[0, 0, 1] == pytest.approx(0.5)


@pytest.mark.parametrize("missing", ["bradley-terry", "borda"])
def test_sparse_labels_are_filled_in_their_order(missing: str) -> None:
    n = 20
    labels = from_matrix(_order(n), 90, np.random.default_rng(0))
    filled = complete(labels, n, missing)
    assert filled.known.all()
    np.testing.assert_allclose(filled.z + filled.z.T, 1.0)
    right = (filled.z > 0.5) == (_order(n) > 0.5)
    assert right[~np.eye(n, dtype=bool)].mean() > 0.9
    i, j = labels.pairs.T
    np.testing.assert_array_equal(filled.z[i, j], labels.z)


def _chain(n: int, z: float) -> PairLabels:
    """Only neighbours are compared: 0 with 1, 1 with 2, …"""
    return PairLabels(np.stack([np.arange(n - 1), np.arange(1, n)], 1), np.full(n - 1, z))


def test_bradley_terry_reads_a_chain_that_borda_ties() -> None:
    """Segments 1 and 3 of a chain won once and lost once: what tells them apart is against whom."""
    labels = _chain(5, 1.0)
    for missing, score in (("bradley-terry", bradley_terry(labels, 5)), ("borda", borda(labels, 5))):
        filled = complete(labels, 5, missing)
        away = ~complete(labels, 5, "renormalise").known
        expected = 1.0 / (1.0 + np.exp(score[None, :] - score[:, None]))
        np.testing.assert_allclose(filled.z[away], expected[away], rtol=1e-12)
        if missing == "borda":
            assert filled.z[1, 3] == 0.5
        else:
            assert filled.z[1, 3] > 0.75
            np.testing.assert_array_equal(complete(labels, 5).z, filled.z)  # what is taken unless asked


def test_scores_are_the_log_odds_of_consistent_labels() -> None:
    score = bradley_terry(_chain(4, 0.8), 4, ridge=1e-9)
    np.testing.assert_allclose(score[:-1] - score[1:], np.log(4.0), rtol=1e-6)
    np.testing.assert_allclose(borda(_chain(3, 0.8), 3), [1.2, 0.0, -1.2])  # four times the mean above a tie


def test_renormalising_knows_only_what_was_labelled() -> None:
    labels = PairLabels(np.array([[0, 1], [0, 1], [2, 3]]), np.array([1.0, 0.0, 1.0]))
    got = complete(labels, 4, "renormalise")
    assert got.z[0, 1] == 0.5  # two labellers who contradict each other
    assert got.z[2, 3] == 1.0
    assert got.z[3, 2] == 0.0
    assert not got.known[0, 2]
    assert got.known[1, 0]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 8))
def test_bradley_terry_is_stationary_and_blind_to_writing_order(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, n, (12, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    if not len(pairs):
        return
    labels = PairLabels(pairs, rng.random(len(pairs)))
    score = bradley_terry(labels, n, ridge=0.1)
    i, j = pairs.T
    gradient = 0.1 * score
    excess = 1 / (1 + np.exp(score[j] - score[i])) - labels.z
    np.add.at(gradient, i, excess)
    np.add.at(gradient, j, -excess)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    np.testing.assert_allclose(bradley_terry(PairLabels(pairs[:, ::-1], 1 - labels.z), n), score, atol=1e-6)


def test_scores_of_unlabelled_segments_are_neutral() -> None:
    labels = PairLabels(np.array([[0, 1]]), np.array([1.0]))
    for score in (bradley_terry(labels, 3), borda(labels, 3)):
        assert score[0] > score[2] > score[1]


def test_bad_labels_are_refused() -> None:
    ties = PairLabels(np.array([[0, 1], [1, 2]]), np.array([0.5, 0.5]))
    with pytest.raises(DataError, match="all 2 labels are ties"):
        complete(ties, 3)
    with pytest.raises(ConfigError, match=f"valid names: {', '.join(sorted(MISSING))}"):
        complete(PairLabels(np.array([[0, 1]]), np.array([1.0])), 2, "guess")
    with pytest.raises(DataError, match=r"\(0, 5\).*0\.\.2"):
        complete(PairLabels(np.array([[0, 5]]), np.array([1.0])), 3)
    with pytest.raises(DataError, match=r"pair 1 is \(2, 2\), a segment beside itself"):
        PairLabels(np.array([[0, 1], [2, 2]]), np.array([1.0, 1.0]))
    with pytest.raises(DataError, match=r"pair 0 is \(0, -1\); expected indices from 0"):
        PairLabels(np.array([[0, -1]]), np.array([1.0]))
    for pairs in (np.array([[0.0, 1.0]]), np.array([[np.nan, 1.0]]), np.array([[False, True]])):
        with pytest.raises(DataError, match=f"pairs are {pairs.dtype}; expected integers"):
            PairLabels(pairs, np.array([1.0]))
    with pytest.raises(DataError, match=r"1\.2"):
        PairLabels(np.array([[0, 1]]), np.array([1.2]))
    with pytest.raises(DataError, match="nan"):
        PairLabels(np.array([[0, 1]]), np.array([np.nan]))
