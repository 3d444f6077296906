"""Plans end where asked, keep the limits and stay free when checked by an independent model."""

import time

import mujoco
import numpy as np
import pytest

from sinew_hardware.models.panda import HOME_Q, LIMITS, build_arm
from sinew_hardware.planning.plan import Planner
from sinew_hardware.planning.rrt import plan_path
from sinew_hardware.planning.scene import APPROACH, LIFT, Held, PlanningScene, Target, Tolerance, cell_boxes
from sinew_hardware.planning.trajectory import peaks
from sinew_policies.common.errors import CloudError, NoPlan, Unreachable
from sinew_policies.common.geometry import from_rt, rot_x, rot_z
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64, Trajectory

POSTS = ((0.45, 0.10), (0.45, -0.10), (0.60, 0.0), (0.30, 0.30), (0.30, -0.30), (0.62, -0.25))
POST_HEIGHT_M, POST_HALF_M = 0.40, 0.02


def _cloud() -> F64:
    """Surface points of the posts, as a depth camera would see them from all sides."""
    rng = stream(0, "posts")
    posts = []
    for x, y in POSTS:
        side = rng.uniform(-POST_HALF_M, POST_HALF_M, (2000, 2))
        axis, sign = rng.integers(0, 2, 2000), rng.choice([-POST_HALF_M, POST_HALF_M], 2000)
        side[np.arange(2000), axis] = sign
        posts.append(np.column_stack([np.add(side, [x, y]), rng.uniform(0.0, POST_HEIGHT_M, 2000)]))
        top = np.add(rng.uniform(-POST_HALF_M, POST_HALF_M, (100, 2)), [x, y])
        posts.append(np.column_stack([top, np.full(100, POST_HEIGHT_M)]))
    return np.concatenate(posts)


def _truth() -> mujoco.MjModel:
    """The cell with solid posts, built apart from the planning scene."""
    spec = mujoco.MjSpec()
    build_arm(spec, visual=False)
    for box in cell_boxes():
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=box.half, pos=box.centre)
    for x, y in POSTS:
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[POST_HALF_M, POST_HALF_M, POST_HEIGHT_M / 2],
            pos=[x, y, POST_HEIGHT_M / 2],
        )
    return spec.compile()


def _assert_free(model: mujoco.MjModel, trajectory: Trajectory) -> None:
    data = mujoco.MjData(model)
    data.qpos[7:] = 0.04
    for a, b in zip(trajectory.q, trajectory.q[1:], strict=False):
        count = max(1, int(np.ceil(np.max(np.abs(b - a)) / 0.005)))
        for u in np.arange(1, count + 1) / count:
            data.qpos[:7] = a + u * (b - a)
            mujoco.mj_fwdPosition(model, data)
            assert data.ncon == 0 or data.contact.dist.min() > 0.0


def test_paths_among_posts_are_found_quickly_and_are_free() -> None:
    planner, truth = Planner(seed=0), _truth()
    planner.scene.set_obstacles(_cloud())
    rng = stream(0, "goals")
    q, planned, bent, cost_s = HOME_Q, 0, 0, []
    assert not planner.scene.collides(q)
    tried = 0
    while tried < 16:
        # Left and right of the two posts by turns, the hand lower than their tops.
        side = 0.28 if tried % 2 else -0.28
        yaw = rng.uniform(-np.pi, np.pi)
        goal = _above(rng.uniform(0.36, 0.5), side + rng.uniform(-0.1, 0.1), rng.uniform(0.25, 0.35), yaw)
        begun = time.thread_time()
        try:
            trajectory = planner.plan_to_pose(q, goal)
        except Unreachable:  # the pose itself touches a post
            continue
        except NoPlan:
            tried += 1
            continue
        tried += 1
        cost_s.append(time.thread_time() - begun)
        planned += 1
        np.testing.assert_allclose(trajectory.q[0], q)
        np.testing.assert_allclose(planner.kinematics.fk(trajectory.q[-1]), goal, atol=3e-3)
        assert peaks(trajectory.q).worst <= 0.8 + 1e-9
        _assert_free(truth, trajectory)
        way = trajectory.q - q
        bent += np.linalg.matrix_rank(way, tol=1e-6) > 1
        q = trajectory.q[-1]
    assert planned >= 15
    assert bent >= 6  # else the posts tested nothing
    assert np.median(cost_s) < 0.5  # 0.2 s when busy; clutter on the table takes a tenth of that


def _above(x: float, y: float, z: float, yaw: float = 0.0) -> F64:
    return from_rt(rot_z(yaw) @ rot_x(np.pi), [x, y, z])


@pytest.mark.parametrize("yaw", [0.0, 0.7, -1.2])
def test_straight_line_deviates_less_than_two_millimetres(yaw: float) -> None:
    planner = Planner(seed=1)
    start = planner.plan_to_pose(HOME_Q, _above(0.5, 0.05, 0.30, yaw)).q[-1]
    trajectory = planner.straight_line(start, _above(0.5, 0.05, 0.16, yaw))
    poses = np.array([planner.kinematics.fk(q) for q in trajectory.q])
    assert np.abs(poses[:, :2, 3] - [0.5, 0.05]).max() < 0.002
    assert poses[-1, 2, 3] == pytest.approx(0.16, abs=5e-4)
    assert np.all(np.diff(poses[:, 2, 3]) < 1e-5)
    assert peaks(trajectory.q).worst <= 0.3 + 1e-9


def test_line_into_the_table_is_blocked_and_says_by_what() -> None:
    planner = Planner(seed=1)
    start = planner.plan_to_pose(HOME_Q, _above(0.5, 0.0, 0.25)).q[-1]
    with pytest.raises(NoPlan, match=r"straight line is blocked after \d+ of \d+ steps: table against panda_"):
        planner.straight_line(start, _above(0.5, 0.0, 0.08))


def test_the_target_may_be_touched_and_its_neighbour_may_not() -> None:
    planner = Planner(seed=2)
    rng = stream(0, "object")
    planner.scene.set_obstacles(rng.uniform([0.48, -0.03, 0.0], [0.52, 0.03, 0.12], (5000, 3)))
    start = planner.plan_to_pose(HOME_Q, _above(0.5, 0.0, 0.30)).q[-1]
    goal = _above(0.5, 0.0, 0.18)
    with pytest.raises(NoPlan, match="blocked"):
        planner.straight_line(start, goal)
    planner.scene.set_target(Target(np.array([0.5, 0.0, 0.07]), 0.09))
    at_object = planner.straight_line(start, goal).q[-1]
    assert planner.scene.collides(at_object)
    assert not planner.scene.collides(at_object, APPROACH)


def test_a_held_object_collides_on_its_own_and_not_while_lifting() -> None:
    scene = PlanningScene()
    planner = Planner(scene, seed=3)
    q = planner.plan_to_pose(HOME_Q, _above(0.5, 0.0, 0.2)).q[-1]
    assert not scene.collides(q)
    scene.attach(Held(np.array([[0.0, 0.0, 0.19]]), radius_m=0.02))
    assert "held0" in scene.explain(q)
    assert not scene.collides(q, LIFT)
    scene.detach()
    assert not scene.collides(q)


def test_what_leaves_with_the_hand_is_no_obstacle_any_more() -> None:
    scene = PlanningScene()
    scene.set_obstacles(np.array([[0.5, 0.0, 0.05], [0.6, 0.1, 0.05]]))
    scene.attach(Held(np.array([[0.0, 0.0, 0.12]])), clear_radius_m=0.03, at=np.array([0.5, 0.0, 0.05]))
    assert len(scene.voxels) == 1
    assert np.linalg.norm(scene.voxels[0] - [0.6, 0.1, 0.05]) < 0.02


def test_scene_collision_agrees_with_full_forward_dynamics_of_the_same_cell() -> None:
    scene, rng = PlanningScene(), stream(7, "configurations")
    spec = mujoco.MjSpec()
    build_arm(spec, visual=False)
    for box in cell_boxes():
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=box.half, pos=box.centre)
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[7:] = 0.04
    touch = Tolerance(clearance_m=0.0, self_clearance_m=0.0)
    collisions = 0
    for _ in range(400):
        q = rng.uniform(LIMITS.lower, LIMITS.upper)
        data.qpos[:7] = q
        mujoco.mj_forward(model, data)
        expected = bool(data.ncon and data.contact.dist.min() < 0.0)
        blocked = scene.explain(q, touch)
        assert (bool(blocked) and "workspace" not in blocked) == expected
        collisions += expected
    assert 40 < collisions < 360


def test_goals_that_make_no_sense_are_refused_with_reasons() -> None:
    planner = Planner(seed=4)
    with pytest.raises(Unreachable, match="goal joint angles"):
        planner.plan_to_q(HOME_Q, np.full(7, np.nan))
    with pytest.raises(Unreachable, match=r"goal: panda_joint4 is 0.644 rad; expected -3.072 to -0.070"):
        planner.plan_to_q(HOME_Q, np.add(HOME_Q, [0, 0, 0, 3.0, 0, 0, 0]))
    low = np.add(HOME_Q, [0.0, 1.6, 0, 0, 0, 0, 0])
    with pytest.raises(Unreachable, match=r"goal is in collision: .*table"):
        planner.plan_to_q(HOME_Q, low)
    with pytest.raises(NoPlan, match=r"start is in collision: .*table"):
        planner.plan_to_q(low, HOME_Q)
    with pytest.raises(Unreachable, match=r"left .* mm"):
        planner.plan_to_pose(HOME_Q, _above(1.4, 0.0, 0.3))


def test_a_goal_behind_a_wall_without_a_door_gives_no_plan_in_bounded_time() -> None:
    goal = np.add(HOME_Q, [1.0, 0, 0, 0, 0, 0, 0])
    begun = time.monotonic()
    with pytest.raises(NoPlan, match=r"no collision-free path within 0\.3 s .*raise timeout_s"):
        plan_path(HOME_Q, goal, lambda q: bool(0.4 < q[0] < 0.6), stream(0, "wall"), timeout_s=0.3)
    assert time.monotonic() - begun < 5.0


def test_a_cloud_too_large_for_the_scene_is_refused() -> None:
    xyz = stream(0, "big").uniform(-2.0, 2.0, (50_000, 3))
    with pytest.raises(CloudError, match="crop it to the workspace or take larger voxels"):
        PlanningScene().set_obstacles(np.abs(xyz))


def test_nan_points_and_the_table_surface_are_no_obstacles() -> None:
    scene = PlanningScene()
    scene.set_obstacles(np.array([[np.nan, 0, 0.1], [0.5, 0.0, 0.002], [0.5, 0.0, 0.1]]))
    assert len(scene.voxels) == 1
