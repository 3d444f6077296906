"""Laws of exact enumeration and of the permutation search."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sinew_policies.common.errors import DataError
from sinew_policies.pearl.assignment import search
from sinew_policies.pearl.enumeration import MAX_POINTS, best_permutations


def _points(rng: np.random.Generator, b: int, m: int) -> np.ndarray:
    return rng.normal(size=(b, m, 5)) * rng.uniform(0.2, 1.0, (b, 1, 5))


def _distances(x: np.ndarray) -> np.ndarray:
    return np.stack([cdist(p, p) for p in x])


def _energy(a, t, line, s, alpha):
    m = len(a)
    return alpha * np.square(a - t[np.ix_(s, s)]).sum() / m**2 + (1 - alpha) * line[np.arange(m), s].sum() / m


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), m=st.integers(1, 5), alpha=st.floats(0, 1))
def test_no_permutation_is_better_and_the_second_is_second(seed: int, m: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    a, t = _distances(_points(rng, 2, m)), _distances(_points(rng, 2, m))
    line = rng.random((2, m, m))
    found, energy, second = best_permutations(a, t, line, alpha)
    for k in range(2):
        every = sorted(_energy(a[k], t[k], line[k], np.array(s), alpha) for s in itertools.permutations(range(m)))
        assert energy[k] == pytest.approx(every[0], abs=1e-12)
        assert _energy(a[k], t[k], line[k], found[k], alpha) == pytest.approx(energy[k], abs=1e-12)
        assert second[k] == (np.inf if m == 1 else pytest.approx(every[1], abs=1e-12))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), m=st.integers(3, MAX_POINTS))
def test_an_isometric_copy_is_matched_point_by_point(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    x = _points(rng, 3, m)
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    order = np.stack([rng.permutation(m) for _ in range(3)])
    copy = np.empty_like(x)
    np.put_along_axis(copy, order[:, :, None], x @ rotation + 7.0, axis=1)
    found, energy, _ = best_permutations(_distances(x), _distances(copy))
    np.testing.assert_array_equal(found, order)
    np.testing.assert_allclose(energy, 0.0, atol=1e-12)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), m=st.integers(2, MAX_POINTS), alpha=st.floats(0.1, 1))
def test_search_finds_the_enumerated_minimum_of_small_problems(seed: int, m: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    a, t, line = _distances(_points(rng, 4, m)), _distances(_points(rng, 4, m)), rng.random((4, m, m))
    _, exact, _ = best_permutations(a, t, line, alpha)
    order, energy = search(a, t, line, alpha, rounds=8, seed=seed % 1000)
    np.testing.assert_allclose(energy, exact, atol=1e-12)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(m), (4, 1)))


def test_search_recovers_the_order_of_a_large_copy() -> None:
    rng = np.random.default_rng(3)
    x = _points(rng, 2, 40)
    order = np.stack([rng.permutation(40) for _ in range(2)])
    copy = np.empty_like(x)
    np.put_along_axis(copy, order[:, :, None], x, axis=1)
    found, energy = search(_distances(x), _distances(copy), rounds=4)
    np.testing.assert_array_equal(found, order)
    np.testing.assert_allclose(energy, 0.0, atol=1e-12)


def test_energy_of_a_search_is_that_of_its_permutation_also_with_a_diagonal() -> None:
    rng = np.random.default_rng(4)
    a, t = (m + np.swapaxes(m, 1, 2) for m in (rng.random((3, 12, 12)), rng.random((3, 12, 12))))
    line = rng.random((3, 12, 12))
    order, energy = search(a, t, line, 0.4, rounds=2)
    for k in range(3):
        assert energy[k] == pytest.approx(_energy(a[k], t[k], line[k], order[k], 0.4), abs=1e-12)


def test_too_many_points_are_refused_with_the_solver_to_take() -> None:
    seven = np.zeros((1, 7, 7))
    with pytest.raises(DataError, match=r"7 source and 7 target points.*'assignment'"):
        best_permutations(seven, seven)
    with pytest.raises(DataError, match=r"4 source and 5 target"):
        best_permutations(np.zeros((1, 4, 4)), np.zeros((1, 5, 5)))
