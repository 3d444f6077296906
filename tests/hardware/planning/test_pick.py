"""The motions of one pick join up, keep clear of what is not grasped, and end where they should."""

import numpy as np
import pytest

from sinew_hardware.models.panda import HOME_Q
from sinew_hardware.planning.pick import PickMotions
from sinew_hardware.planning.plan import Planner
from sinew_policies.common.errors import PlanningError, Unreachable
from sinew_policies.common.geometry import HAND_DEPTH_M, T_HAND_FROM_GRASP, apply, from_rt, inverse, rot_x, rot_z
from sinew_policies.common.types import Grasp, PointCloud


def _box_cloud(centre: tuple[float, float], half: float, height: float) -> np.ndarray:
    u = np.linspace(-half, half, 12)
    x, y = np.meshgrid(u, u)
    top = np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], axis=1)
    z = np.linspace(0.008, height, 10)
    a, b = np.meshgrid(u, z)
    sides = [np.stack([a.ravel(), np.full(a.size, s * half), b.ravel()], axis=1) for s in (-1, 1)]
    sides += [np.stack([np.full(a.size, s * half), a.ravel(), b.ravel()], axis=1) for s in (-1, 1)]
    return np.concatenate([top, *sides]) + np.array([*centre, 0.0])


def _cloud() -> PointCloud:
    xyz = np.concatenate([_box_cloud((0.5, 0.0), 0.02, 0.08), _box_cloud((0.5, 0.1), 0.03, 0.10)]).astype(
        np.float32
    )
    return PointCloud(xyz, np.zeros((len(xyz), 3), np.uint8), "base_link")


def _top_down(x: float, y: float, z: float, yaw: float) -> Grasp:
    """Fingertips at (x, y, z), approach straight down."""
    T = from_rt(rot_x(np.pi) @ rot_z(yaw), [x, y, z + HAND_DEPTH_M])
    return Grasp(T, 0.04, 0.9, np.array([x, y, z]))


@pytest.fixture(scope="module")
def motions() -> PickMotions:
    return PickMotions(Planner(seed=1))


def test_the_parts_join_and_the_hand_ends_at_the_grasp(motions: PickMotions) -> None:
    grasp = _top_down(0.5, 0.0, 0.05, 0.3)
    plan = motions.plan_pick(HOME_Q, grasp, _cloud())
    np.testing.assert_allclose(plan.reach.q[0], HOME_Q, atol=1e-9)
    np.testing.assert_allclose(plan.reach.q[-1], plan.approach.q[0], atol=1e-6)
    np.testing.assert_allclose(plan.approach.q[-1], plan.lift.q[0], atol=1e-6)
    planner = Planner(seed=2)
    T_hand = planner.kinematics.fk(plan.approach.q[-1])
    wanted = grasp.T_base_grasp @ inverse(T_HAND_FROM_GRASP)
    flipped = wanted @ from_rt(rot_z(np.pi), np.zeros(3))
    assert min(np.abs(T_hand - wanted).max(), np.abs(T_hand - flipped).max()) < 2e-3
    lifted = planner.kinematics.fk(plan.lift.q[-1])
    assert lifted[2, 3] - T_hand[2, 3] > 0.11
    np.testing.assert_allclose(lifted[:2, 3], T_hand[:2, 3], atol=2e-3)


def test_an_approach_that_was_stopped_near_its_end_is_lifted_from_there_and_no_other(motions: PickMotions) -> None:
    plan = motions.plan_pick(HOME_Q, _top_down(0.5, 0.0, 0.05, 0.3), _cloud())
    kinematics = Planner(seed=2).kinematics
    end = kinematics.fk(plan.approach.q[-1])[:3, 3]
    left_m = np.array([np.linalg.norm(kinematics.fk(q)[:3, 3] - end) for q in plan.approach.q])
    near, far = plan.approach.q[left_m < 0.015][0], plan.approach.q[left_m > 0.03][-1]
    lift = motions.cut_short(plan, near).lift
    np.testing.assert_allclose(lift.q[0], near, atol=1e-6)
    assert kinematics.fk(lift.q[-1])[2, 3] - kinematics.fk(near)[2, 3] > 0.11
    with pytest.raises(PlanningError, match=r"stopped \d+ mm before the grasp"):
        motions.cut_short(plan, far)


def test_the_carried_object_ends_above_the_bin_and_the_arm_comes_home(motions: PickMotions) -> None:
    plan = motions.plan_pick(HOME_Q, _top_down(0.5, 0.0, 0.05, 0.3), _cloud())
    carry = motions.to_bin(plan.lift.q[-1], 1)
    planner = Planner(seed=2)
    tip = apply(planner.kinematics.fk(carry.q[-1]), np.array([[0.0, 0.0, HAND_DEPTH_M]]))[0]
    assert abs(tip[0] - 0.42) < 0.09
    assert abs(tip[1] - 0.42) < 0.09
    assert 0.15 < tip[2] < 0.3
    home = motions.to_observe(carry.q[-1])
    np.testing.assert_allclose(home.q[-1], HOME_Q, atol=1e-6)
    assert len(motions.to_observe(HOME_Q).t_s) == 1


def test_a_grasp_through_the_neighbour_is_refused(motions: PickMotions) -> None:
    # Approach along -y at half height: the hand would have to come through the second box.
    T = np.eye(4)
    T[:3, :3] = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    T[:3, 3] = [0.5, HAND_DEPTH_M, 0.05]
    with pytest.raises(PlanningError):
        motions.plan_pick(HOME_Q, Grasp(T, 0.04, 0.9, np.array([0.5, 0.0, 0.05])), _cloud())


def test_an_unreachable_grasp_says_by_how_much(motions: PickMotions) -> None:
    with pytest.raises(Unreachable, match="mm"):
        motions.plan_pick(HOME_Q, _top_down(1.6, 0.0, 0.05, 0.0), _cloud())


@pytest.mark.parametrize("entry", [(0, 3), (1, 1)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_grasp_that_is_not_finite_is_refused(motions: PickMotions, entry: tuple[int, int], value: float) -> None:
    grasp = _top_down(0.5, 0.0, 0.05, 0.0)
    grasp.T_base_grasp[entry] = value
    with pytest.raises(Unreachable, match="not finite"):
        motions.plan_pick(HOME_Q, grasp, _cloud())


def test_an_arm_left_among_objects_gets_out(motions: PickMotions) -> None:
    plan = motions.plan_pick(HOME_Q, _top_down(0.5, 0.0, 0.05, 0.3), _cloud())
    out = motions.to_observe(plan.approach.q[-1])
    np.testing.assert_allclose(out.q[0], plan.approach.q[-1], atol=1e-6)
    np.testing.assert_allclose(out.q[-1], HOME_Q, atol=1e-6)
    assert np.all(np.diff(out.t_s) > 0)


def test_an_arm_left_in_an_object_that_it_did_not_mean_to_touch_gets_out(motions: PickMotions) -> None:
    boxes = np.concatenate([_box_cloud((0.5, y), 0.02, 0.08) for y in (0.0, -0.15)]).astype(np.float32)
    cloud = PointCloud(boxes, np.zeros((len(boxes), 3), np.uint8), "base_link")
    stuck = motions.plan_pick(HOME_Q, _top_down(0.5, 0.0, 0.05, 0.3), cloud).approach.q[-1]
    motions.plan_pick(HOME_Q, _top_down(0.5, -0.15, 0.05, 0.3), cloud)  # the target is now the other box
    out = motions.to_observe(stuck)
    np.testing.assert_allclose(out.q[0], stuck, atol=1e-6)
    np.testing.assert_allclose(out.q[-1], HOME_Q, atol=1e-6)
