"""The clutter world: collision queries, execution and the grasps found in it."""

import mujoco
import numpy as np
import pytest

from sinew_hardware.models import panda_hand
from sinew_policies.common.jaw import clear_of_table, opening_for
from sinew_sim.floating.antipodal import Surface
from sinew_sim.floating.collision import HandChecker, lowest_points
from sinew_sim.floating.execute import LIFT_M, FloatingHand
from sinew_sim.floating.frames import grasp_poses, hand_poses
from sinew_sim.floating.object_grasps import ObjectGrasps, grade_object
from sinew_sim.floating.scene import build_scene
from sinew_sim.floating.scene_grasps import GOOD, find_grasps

DOWN = np.array([[0.0, 0.0, -1.0]])


def _standing(box, x: float = 0.5, y: float = 0.0) -> np.ndarray:
    return np.array([x, y, box.standing_height_m, 1.0, 0.0, 0.0, 0.0])


def _top_grasp(box, pose: np.ndarray, z: float) -> tuple[np.ndarray, float]:
    width = float(box.extents_m[0])
    contact = np.array([[pose[0] - width / 2, pose[1], z]])
    return grasp_poses(contact, np.array([[1.0, 0.0, 0.0]]), DOWN, np.array([width]))[0], width


@pytest.fixture
def one_box(make_box):
    box = make_box()
    return box, build_scene([box], _standing(box)[None])


def test_clearance_is_the_distance_to_the_table(one_box) -> None:
    _, scene = one_box
    checker = HandChecker(scene, mujoco.MjData(scene.model))
    T = grasp_poses(np.array([[0.3, -0.2, 0.0]]), np.array([[1.0, 0.0, 0.0]]), DOWN, np.array([0.04]))[0]
    for height in (0.001, 0.002, -0.004):
        T[2, 3] = panda_hand.FINGERTIP_Z_M + height
        assert checker.clearance(hand_poses(T), 0.06) == pytest.approx(height, abs=2e-4)
    T[2, 3] = panda_hand.FINGERTIP_Z_M + 0.05
    assert checker.clearance(hand_poses(T), 0.06) == pytest.approx(0.003)


def test_first_look_at_the_table_agrees_with_the_collision_query(one_box) -> None:
    _, scene = one_box
    checker = HandChecker(scene, mujoco.MjData(scene.model))
    rng = np.random.default_rng(0)
    n = 200
    d = rng.normal(size=(n, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    a = np.cross(d, rng.normal(size=(n, 3)))
    contact = np.stack([rng.uniform(0.2, 0.3, n), rng.uniform(-0.5, -0.4, n), rng.uniform(0.0, 0.12, n)], axis=1)
    width = rng.uniform(0.005, 0.07, n)
    poses = grasp_poses(contact, d, a, width)
    low = lowest_points(poses, width)
    exact = np.array([checker.clearance(hand_poses(T), opening_for(w)) for T, w in zip(poses, width, strict=True)])
    assert 20 < (low < 0).sum() < 180
    assert ((low < -1e-4) <= (exact < 0)).all()
    near = (low > 0) & (low < 0.003)
    assert np.allclose(exact[near], low[near], atol=3e-4)


def test_top_grasp_lifts_the_box_and_takes_it_away(one_box) -> None:
    box, scene = one_box
    hand = FloatingHand(scene)
    hand.settle(0.2)
    T, width = _top_grasp(box, _standing(box), 0.06)
    result = hand.execute(T, width)
    assert (result.success, result.object_index, result.collided) == (True, 0, False)
    assert hand.present == [False]
    hand.settle(0.2)
    assert np.isfinite(hand.data.qpos).all()


def test_grasp_of_air_fails_and_leaves_the_box_alone(one_box) -> None:
    box, scene = one_box
    hand = FloatingHand(scene)
    hand.settle(0.2)
    before = scene.object_pose(hand.data, 0)
    T, width = _top_grasp(box, _standing(box, y=0.12), 0.06)
    result = hand.execute(T, width)
    assert (result.success, result.object_index) == (False, -1)
    assert np.allclose(scene.object_pose(hand.data, 0), before, atol=1e-3)


def test_driving_into_the_box_is_a_collision_and_stops_softly(one_box) -> None:
    box, scene = one_box
    hand = FloatingHand(scene)
    hand.settle(0.2)
    T, width = _top_grasp(box, _standing(box, x=0.5 + 0.035), 0.06)
    assert hand.execute(T, width).collided


def test_same_grasp_in_the_same_scene_gives_the_same_state(make_box) -> None:
    states = []
    for _ in range(2):
        box = make_box()
        hand = FloatingHand(build_scene([box], _standing(box)[None]))
        hand.settle(0.1)
        hand.execute(*_top_grasp(box, _standing(box, y=0.02), 0.05))
        states.append(hand.data.qpos.copy())
    assert np.array_equal(*states)


def test_an_object_beyond_the_gripper_is_not_lifted(make_box) -> None:
    box = make_box(mass_kg=9.0)
    hand = FloatingHand(build_scene([box], _standing(box)[None]))
    hand.settle(0.1)
    assert not hand.execute(*_top_grasp(box, _standing(box), 0.05)).success
    assert LIFT_M > 0.10


def test_good_grasps_of_a_scene_succeed_when_executed(make_box) -> None:
    objects = [make_box(), make_box((0.03, 0.03, 0.03), 0.1)]
    poses = np.stack([_standing(objects[0]), _standing(objects[1], y=0.1)])
    scene = build_scene(objects, poses)
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    rng = np.random.default_rng(0)
    surfaces = [Surface(o.vertices, o.faces) for o in objects]
    graded = [grade_object(o, rng, n_pairs=20, n_rolls=4) for o in objects]
    found = find_grasps(scene, data, surfaces, graded, 60, rng)
    good = found.good()
    assert {0, 1} <= set(found.object[good].tolist())
    # Top and bottom faces close vertically: the hand would have to come from the side, through the table.
    assert (np.abs(found.contact_dir[good, 2]) < 0.5).all()
    for i in good[:: max(1, len(good) // 4)][:4]:
        hand = FloatingHand(build_scene(objects, poses))
        result = hand.execute(found.pose(int(i)), float(found.width_m[i]))
        assert result.success
        assert result.object_index == found.object[i]


def test_verdicts_follow_the_nearest_tested_pair_and_survive_the_disk(make_box, tmp_path) -> None:
    box = make_box()
    graded = grade_object(box, np.random.default_rng(0), n_pairs=20, n_rolls=4)
    near = graded.nearest(graded.pairs)
    assert near.tolist() == list(range(len(graded.pairs)))
    assert graded.nearest(graded.pairs.flipped()).tolist() == near.tolist()
    for r in range(4):
        held = graded.outcome[:, r] == 3
        assert (graded.verdict(near, graded.approach[:, r])[held] == GOOD).all()
    assert (graded.verdict(np.full(3, -1), np.tile(DOWN, (3, 1))) == -1).all()
    graded.save(tmp_path / "box.npz")
    again = ObjectGrasps.load(tmp_path / "box.npz")
    assert np.array_equal(again.outcome, graded.outcome)
    assert again.content_hash == box.content_hash()


def test_jaw_retreat_clears_a_low_contact(make_box) -> None:
    box = make_box((0.04, 0.05, 0.012))
    scene = build_scene([box], _standing(box)[None])
    checker = HandChecker(scene, mujoco.MjData(scene.model))
    T, width = _top_grasp(box, _standing(box), 0.006)
    assert checker.sweep_clearance(T, width) < 0.0
    assert checker.sweep_clearance(clear_of_table(T, width), width) >= 0.002
