"""IK and FK invert each other; what cannot be reached says why."""

import time
from itertools import pairwise

import numpy as np
import pytest

from sinew_hardware.models.panda import HOME_Q, LIMITS
from sinew_hardware.planning.kinematics import Kinematics, largest_gap_rad, line_poses
from sinew_policies.common.errors import Unreachable
from sinew_policies.common.geometry import from_rt, inverse, rot_x, rot_z, rotation_angle
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64


@pytest.fixture(scope="module")
def kinematics() -> Kinematics:
    return Kinematics(stream(0, "ik"))


def _top_down(rng: np.random.Generator) -> F64:
    yaw, tilt = rng.uniform(-np.pi, np.pi), rng.uniform(-0.3, 0.3)
    position = rng.uniform([0.35, -0.25, 0.12], [0.65, 0.25, 0.4])
    return from_rt(rot_z(yaw) @ rot_x(np.pi + tilt), position)


def test_ik_inverts_fk_on_top_down_poses(kinematics: Kinematics) -> None:
    rng = stream(1, "poses")
    solved, cost_s = 0, []
    for _ in range(200):
        T = _top_down(rng)
        begun = time.thread_time()
        try:
            q = kinematics.solve(T)
        except Unreachable:
            continue
        finally:
            cost_s.append(time.thread_time() - begun)
        solved += 1
        delta = inverse(T) @ kinematics.fk(q)
        assert np.linalg.norm(delta[:3, 3]) < 3e-4
        assert rotation_angle(delta[:3, :3]) < 3e-3
        assert np.all((q > LIMITS.lower + 0.02) & (q < LIMITS.upper - 0.02))
    assert solved >= 190
    assert np.median(cost_s) < 0.010  # 5 ms on an idle core


def test_solution_stays_near_the_reference(kinematics: Kinematics) -> None:
    rng = stream(2, "near")
    for _ in range(30):
        q = HOME_Q + rng.uniform(-0.3, 0.3, 7)
        again = kinematics.solve(kinematics.fk(q), q)
        np.testing.assert_allclose(again, q, atol=0.01)


def test_same_seed_same_solution() -> None:
    T = _top_down(stream(5, "pose"))
    first, second = (Kinematics(stream(9, "ik")).solve(T, LIMITS.lower * 0.5) for _ in range(2))
    assert np.array_equal(first, second)


def test_symmetric_hand_takes_the_nearer_of_both_poses(kinematics: Kinematics) -> None:
    T = kinematics.fk(HOME_Q)
    flipped = T @ from_rt(rot_z(np.pi), np.zeros(3))
    index, q = kinematics.solve_any((flipped, T), HOME_Q)
    assert index == 1
    np.testing.assert_allclose(q, HOME_Q, atol=0.01)


def test_unreachable_pose_says_what_remains(kinematics: Kinematics) -> None:
    with pytest.raises(
        Unreachable, match=r"at \(1\.500, 0\.000, 0\.300\) m .* left \d+\.\d mm .*reach about 0\.85"
    ):
        kinematics.solve(from_rt(rot_x(np.pi), [1.5, 0.0, 0.3]))


def test_blocked_pose_says_that_solutions_were_blocked(kinematics: Kinematics) -> None:
    with pytest.raises(Unreachable, match=r"without collision: .* blocked"):
        kinematics.solve(kinematics.fk(HOME_Q), valid=lambda q: False, restarts=2)


@pytest.mark.parametrize("bad", [np.eye(3), np.full((4, 4), np.nan), np.diag([1.0, 1, -1, 1]), 2.0 * np.eye(4)])
def test_malformed_poses_are_refused(kinematics: Kinematics, bad: F64) -> None:
    with pytest.raises(Unreachable, match=r"finite \(4, 4\)|no rotation matrix"):
        kinematics.solve(bad)


def test_line_poses_start_and_end_where_asked_in_small_steps() -> None:
    rng = stream(4, "line")
    T0, T1 = _top_down(rng), _top_down(rng)
    poses = line_poses(T0, T1)
    np.testing.assert_allclose(poses[0], T0, atol=1e-9)
    np.testing.assert_allclose(poses[-1], T1, atol=1e-6)
    way = T1[:3, 3] - T0[:3, 3]
    for a, b in pairwise(poses):
        assert np.linalg.norm(b[:3, 3] - a[:3, 3]) <= 0.0051
        assert np.linalg.norm(np.cross(b[:3, 3] - T0[:3, 3], way)) < 1e-9
        assert rotation_angle(a[:3, :3].T @ b[:3, :3]) <= 0.021


def test_following_a_line_beyond_reach_fails_with_the_sample(kinematics: Kinematics) -> None:
    T = kinematics.fk(HOME_Q)
    far = T.copy()
    far[0, 3] += 0.9
    with pytest.raises(Unreachable, match=r"straight line is not reachable: at sample \d+ of \d+"):
        kinematics.along(line_poses(T, far), HOME_Q)
    near = T.copy()
    near[2, 3] -= 0.1
    assert largest_gap_rad(kinematics.along(line_poses(T, near), HOME_Q)) < 0.1
