import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import DataError
from sinew_policies.t3.pose import (
    LabelNorm,
    angles_between_deg,
    delta_d9,
    distances,
    matrices,
    rotation_angles_deg,
    rotation_from_columns,
    rotation_vectors_deg,
    rotations,
)

seeds = st.integers(0, 2**31)


def random_poses(seed: int, n: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 10, (n, 3)), rng.normal(size=(n, 4))], axis=1)


def matrix(pose: np.ndarray) -> np.ndarray:
    T = np.tile(np.eye(4), (len(pose), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = rotations(pose[:, 3:]), pose[:, :3]
    return T


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_the_label_of_a_pair_is_the_motion_between_the_poses(seed: int) -> None:
    a, b = random_poses(seed), random_poses(seed + 1)
    moved = matrix(a) @ matrices(delta_d9(a, b))
    np.testing.assert_allclose(moved, matrix(b), atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_motions_of_consecutive_pairs_compose(seed: int) -> None:
    a, b, c = (random_poses(seed + i) for i in range(3))
    chained = matrices(delta_d9(a, b)) @ matrices(delta_d9(b, c))
    np.testing.assert_allclose(chained, matrices(delta_d9(a, c)), atol=1e-8)


def test_an_identity_pair_has_no_motion() -> None:
    a = random_poses(3)
    np.testing.assert_allclose(delta_d9(a, a), np.tile([0, 0, 0, 1, 0, 0, 0, 1, 0], (5, 1)), atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_decoded_columns_are_a_rotation_and_keep_the_first_direction(seed: int) -> None:
    d6 = np.random.default_rng(seed).normal(size=(4, 6))
    R = rotation_from_columns(d6)
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (4, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(R), 1.0)
    np.testing.assert_allclose(R[:, :, 0] * np.linalg.norm(d6[:, :3], axis=1, keepdims=True), d6[:, :3])


@pytest.mark.parametrize("degrees", [0.0, 1e-6, 1.0, 90.0, 179.999, 180.0])
def test_the_angle_is_accurate_from_none_to_a_half_turn(degrees: float) -> None:
    half = np.radians(degrees) / 2
    R = rotations(np.array([[np.sin(half), 0.0, 0.0, np.cos(half)]]))
    assert rotation_angles_deg(R)[0] == pytest.approx(degrees, abs=1e-7)
    if degrees < 180.0:
        np.testing.assert_allclose(rotation_vectors_deg(R), [[degrees, 0.0, 0.0]], atol=1e-7)


def test_errors_of_a_known_shift_and_turn() -> None:
    target = np.array([[0.0, 0, 0, 1, 0, 0, 0, 1, 0]] * 2)
    c, s = np.cos(np.radians(10.0)), np.sin(np.radians(10.0))
    predicted = np.array([[3.0, 4.0, 0, c, s, 0, -s, c, 0], target[1]])
    np.testing.assert_allclose(distances(predicted[:, :3], target[:, :3]), [5.0, 0.0])
    np.testing.assert_allclose(angles_between_deg(predicted, target), [10.0, 0.0], atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(seeds)
def test_standardised_labels_have_no_mean_and_unit_scale_and_come_back(seed: int) -> None:
    labels = np.random.default_rng(seed).normal(3.0, 7.0, (50, 9))
    norm = LabelNorm.of(labels)
    normalised = norm.normalise(labels)
    np.testing.assert_allclose(normalised.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(normalised.std(0), 1.0)
    np.testing.assert_allclose(norm.restore(normalised), labels)


def test_a_dimension_that_never_changes_keeps_its_scale() -> None:
    labels = np.array([[1.0, 5.0], [2.0, 5.0]])
    assert LabelNorm.of(labels).std[1] == 1.0


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [((0.0,), (1.0, 1.0), "1 means and 2"), ((0.0,), (0.0,), "std over 0"), ((float("nan"),), (1.0,), "finite")],
)
def test_impossible_statistics_are_refused(mean: tuple[float, ...], std: tuple[float, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LabelNorm(mean, std)
