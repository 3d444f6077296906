"""Rigid transforms obey their laws for any pose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sinew_policies.common import geometry
from sinew_policies.common.types import F64

unit = st.floats(-1.0, 1.0)
quaternions = (
    st.tuples(unit, unit, unit, unit)
    .map(np.array)
    .filter(lambda q: float(np.linalg.norm(q)) > 1e-3)
    .map(lambda q: q / np.linalg.norm(q))
)
vectors = st.tuples(*[st.floats(-10.0, 10.0)] * 3).map(np.array)
transforms = st.builds(lambda q, t: geometry.from_rt(geometry.matrix_from_quat(q), t), quaternions, vectors)
angles = st.floats(-2 * np.pi, 2 * np.pi)


def close(a: F64, b: F64, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(a, b, atol=atol, rtol=0)


@given(quaternions)
def test_quaternion_to_matrix_is_a_rotation_and_comes_back(q: F64) -> None:
    R = geometry.matrix_from_quat(q)
    close(R @ R.T, np.eye(3))
    assert np.linalg.det(R) == pytest.approx(1.0)
    close(R, Rotation.from_quat(q).as_matrix())
    back = geometry.quat_from_matrix(R)
    assert back[3] >= 0.0
    assert np.linalg.norm(back) == pytest.approx(1.0)
    assert abs(float(back @ q)) == pytest.approx(1.0)  # q and -q are the same rotation
    close(geometry.matrix_from_quat(back), R)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 1)])
def test_half_turns_come_back(axis: tuple[int, int, int]) -> None:
    """w = 0, where the short formula divides by nothing."""
    R = Rotation.from_rotvec(np.pi * np.array(axis) / np.linalg.norm(axis)).as_matrix()
    close(geometry.matrix_from_quat(geometry.quat_from_matrix(R)), R)


@given(quaternions, st.floats(1e-3, 1e3))
def test_length_of_a_quaternion_does_not_matter(q: F64, length: float) -> None:
    close(geometry.matrix_from_quat(length * q), geometry.matrix_from_quat(q))


@pytest.mark.parametrize("q", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_a_quaternion_without_direction_is_refused(q: list[float]) -> None:
    with pytest.raises(ValueError, match="has no direction; expected a unit xyzw"):
        geometry.matrix_from_quat(q)


@given(transforms, transforms, transforms)
def test_group_laws(a: F64, b: F64, c: F64) -> None:
    close(a @ geometry.inverse(a), np.eye(4))
    close(geometry.inverse(geometry.inverse(a)), a)
    close(geometry.inverse(a @ b), geometry.inverse(b) @ geometry.inverse(a))
    close((a @ b) @ c, a @ (b @ c))
    stacked = geometry.inverse(np.stack([[a, b], [b, c]]))
    close(stacked[1, 1], geometry.inverse(c))


@given(transforms, transforms, vectors, vectors)
def test_apply_composes_and_keeps_distances(a: F64, b: F64, p: F64, q: F64) -> None:
    points = np.stack([p, q])
    close(geometry.apply(a @ b, points), geometry.apply(a, geometry.apply(b, points)))
    close(geometry.apply(geometry.inverse(a), geometry.apply(a, points)), points)
    moved = geometry.apply(a, points)
    assert np.linalg.norm(moved[0] - moved[1]) == pytest.approx(float(np.linalg.norm(p - q)), abs=1e-9)


@given(angles, angles)
def test_turns_about_one_axis_add_up(a: float, b: float) -> None:
    for turn in (geometry.rot_x, geometry.rot_z):
        close(turn(a) @ turn(b), turn(a + b))
    close(geometry.rot_z(np.pi / 2) @ [1.0, 0.0, 0.0], np.array([0.0, 1.0, 0.0]))
    close(geometry.rot_x(np.pi / 2) @ [0.0, 1.0, 0.0], np.array([0.0, 0.0, 1.0]))


@given(quaternions, angles)
def test_angle_of_a_conjugated_turn(q: F64, a: float) -> None:
    R = geometry.matrix_from_quat(q)
    expected = abs((a + np.pi) % (2 * np.pi) - np.pi)
    # arccos loses half the digits near 0 and π
    assert geometry.rotation_angle(R @ geometry.rot_z(a) @ R.T) == pytest.approx(expected, abs=1e-6)
    assert geometry.rotation_angle(np.stack([np.eye(3), geometry.rot_z(a)])) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=200)
@given(quaternions, quaternions, st.floats(0.0, 1.0))
def test_slerp_turns_evenly_on_the_shorter_way(q0: F64, q1: F64, u: float) -> None:
    q = geometry.slerp(q0, q1, u)
    assert np.linalg.norm(q) == pytest.approx(1.0, abs=1e-9)

    def arc(a: F64, b: F64) -> float:
        chord = min(float(np.linalg.norm(a - b)), float(np.linalg.norm(a + b)))
        return 4.0 * float(np.arcsin(min(chord / 2.0, 1.0)))

    whole = arc(q0, q1)
    assert whole <= np.pi + 1e-9
    assert arc(q0, q) == pytest.approx(u * whole, abs=1e-4)
    assert arc(q, q1) == pytest.approx((1 - u) * whole, abs=1e-4)


@given(transforms)
def test_hand_frame_shares_origin_and_approach_and_closes_along_y(T: F64) -> None:
    """T_base_hand = T_base_grasp @ inv(T_HAND_FROM_GRASP)."""
    hand = T @ geometry.inverse(geometry.T_HAND_FROM_GRASP)
    close(hand[:3, 3], T[:3, 3])
    close(hand[:3, 2], T[:3, 2])
    close(np.abs(hand[:3, 1]), np.abs(T[:3, 0]))
    assert np.linalg.det(hand[:3, :3]) == pytest.approx(1.0)
