"""Ranking, suppression and the filters: laws for any candidates, and a box on a table as the worked example."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_hardware.models import panda_hand
from sinew_policies.common import geometry, jaw
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32, F64, Grasp
from sinew_policies.m2t2.hand_collision import count_points, hand_boxes
from sinew_policies.m2t2.postprocess import (
    REJECTIONS,
    PostprocessConfig,
    approach_filter,
    assign_points,
    contact_middle,
    filter_grasps,
    gripper_collision_filter,
    lean_away,
    rank_grasps,
    refine,
    workspace_filter,
)

DOWN = geometry.rot_x(np.pi)  # approach -z, closing along x


def grasp(middle: tuple[float, float, float], R: F64 = DOWN, width_m: float = 0.04, score: float = 0.9) -> Grasp:
    """A grasp whose contact line's middle is `middle`."""
    T = geometry.from_rt(R, np.array(middle) - geometry.HAND_DEPTH_M * R[:, 2])
    return Grasp(T, width_m, score, np.array(middle) - 0.5 * width_m * R[:, 0], 0)


def box_surface(centre: tuple[float, float, float], size: tuple[float, float, float], step: float = 0.002) -> F32:
    """Points on the five visible faces of a box that stands on something."""
    axes = [np.arange(-s / 2, s / 2 + step / 2, step) for s in size]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    half = np.array(size) / 2 - step * 0.6
    shell = grid[(np.abs(grid[:, :2]) > half[:2]).any(axis=1) | (grid[:, 2] > half[2])]
    return (shell + centre).astype(np.float32)


def table() -> F32:
    x, y = np.meshgrid(np.arange(0.35, 0.65, 0.004), np.arange(-0.15, 0.15, 0.004))
    noise = stream(0, "table").normal(0, 0.001, x.size)
    return np.c_[x.ravel(), y.ravel(), np.clip(noise, -0.003, 0.003)].astype(np.float32)


BOX = box_surface((0.5, 0.0, 0.04), (0.04, 0.04, 0.08))
SCENE = np.concatenate([table(), BOX])


def reason(g: Grasp, xyz: F32 = SCENE) -> str:
    return gripper_collision_filter([g], xyz)[0].rejection


# -- the worked example -------------------------------------------------------------------------------------


@pytest.mark.parametrize("yaw", [0.0, np.pi / 2, np.pi, -np.pi / 2])
def test_a_good_grasp_stays_executable(yaw: float) -> None:
    assert reason(grasp((0.5, 0.0, 0.06), geometry.rot_z(yaw) @ DOWN)) == ""


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (grasp((0.5, 0.0, 0.006)), "table"),  # fingertips reach 8.9 mm further
        (grasp((0.5, 0.0, 0.015)), "collision"),  # the palm is in the box's top
        (grasp((0.5, 0.0, 0.06), geometry.rot_z(np.pi / 4) @ DOWN, 0.02), "collision"),  # the diagonal is wider
        (grasp((0.535, 0.0, 0.06)), "collision"),  # a finger comes down on the box
        (grasp((0.5, 0.0, 0.12)), "empty"),  # above the box
        (grasp((0.6, 0.1, 0.03)), "empty"),  # beside it
    ],
)
def test_bad_grasps_say_why(bad: Grasp, expected: str) -> None:
    assert reason(bad) == expected


def test_the_way_in_is_checked_too() -> None:
    """A horizontal grasp behind a wall: free where it ends, blocked 8 cm before."""
    R = np.column_stack([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])  # approaches along +x
    side = grasp((0.5, 0.0, 0.06), R)
    low = side.T_base_grasp[2, 3] - 0.035
    assert reason(side) == ""
    wall = box_surface((float(side.T_base_grasp[0, 3]) - 0.06, 0.0, low), (0.02, 0.2, 0.06))
    assert count_points(side.T_base_grasp[None], np.array([0.04]), wall, stations_m=(0.0,)).touching.max() == 0
    assert reason(side, np.concatenate([SCENE, wall])) == "collision"


def test_noise_points_are_tolerated_but_not_an_object() -> None:
    good = grasp((0.5, 0.0, 0.06))
    finger = np.array([0.5 + jaw.opening_for(0.04) / 2 + 0.005, 0.0, 0.06], np.float32)
    few, many = (finger + 1e-4 * np.arange(n)[:, None].astype(np.float32) for n in (4, 5))
    assert reason(good, np.concatenate([SCENE, few])) == ""
    assert reason(good, np.concatenate([SCENE, many])) == "collision"


def test_workspace_and_approach() -> None:
    inside, outside = grasp((0.5, 0.1, 0.05)), grasp((0.5, 0.2, 0.05))
    assert [g.rejection for g in workspace_filter([inside, outside])] == ["", "workspace"]
    level = grasp((0.5, 0, 0.05), np.column_stack([[0, 1, 0], [0, 0, 1], [1, 0, 0]]).astype(float))
    up = grasp((0.5, 0, 0.05), np.eye(3))
    assert [g.rejection for g in approach_filter([inside, level, up], 0.0)] == ["", "", "approach"]
    assert [g.rejection for g in approach_filter([up], np.pi / 2)] == [""]


def test_an_earlier_rejection_is_kept() -> None:
    unreachable = grasp((0.5, 0.5, 0.005), np.eye(3)).rejected("unreachable")
    assert filter_grasps([unreachable], SCENE)[0].rejection == "unreachable"


def test_refine_frees_a_grasp_that_is_too_deep_or_too_high() -> None:
    shallow = refine([grasp((0.5, 0.0, 0.098))], SCENE)[0]  # 18 mm above the box: nothing between the pads
    assert reason(grasp((0.5, 0.0, 0.098))) == "empty"
    assert reason(shallow) == ""
    flat = np.concatenate([table(), box_surface((0.5, 0.0, 0.01), (0.04, 0.04, 0.02))])
    low = grasp((0.5, 0.0, 0.008))
    assert reason(low, flat) == "table"
    raised = refine([low], flat)[0]
    assert reason(raised, flat) == ""
    np.testing.assert_allclose(contact_middle(raised)[:2], [0.5, 0.0], atol=1e-12)
    assert low.T_base_grasp[2, 3] < raised.T_base_grasp[2, 3] <= low.T_base_grasp[2, 3] + 0.0071


def test_refine_leaves_free_and_hopeless_grasps_alone() -> None:
    for g in (grasp((0.5, 0.0, 0.06)), grasp((0.6, 0.1, 0.1)), grasp((0.535, 0.0, 0.06))):
        np.testing.assert_array_equal(refine([g], SCENE)[0].T_base_grasp, g.T_base_grasp)


def test_filtering_is_refining_and_then_checking() -> None:
    g = stream(0, "spread")
    grasps = [
        grasp(tuple(m), geometry.rot_z(yaw) @ DOWN)
        for m, yaw in zip(
            g.uniform([0.48, -0.02, 0.0], [0.52, 0.02, 0.12], (60, 3)), g.uniform(0, 6, 60), strict=True
        )
    ]
    apart = gripper_collision_filter(refine(grasps, SCENE), SCENE)
    at_once = filter_grasps(grasps, SCENE)
    assert len({x.rejection for x in apart}) >= 3
    for x in apart:
        same = [y for y in at_once if np.array_equal(y.contact, x.contact)]
        assert [y.rejection for y in same] == [x.rejection]
        np.testing.assert_array_equal(same[0].T_base_grasp, x.T_base_grasp)


def test_filtering_sorts_executable_grasps_first_and_keeps_all() -> None:
    grasps = [
        grasp((0.5, 0.0, 0.06), score=0.5),
        grasp((0.5, 0.5, 0.06), score=0.95),
        grasp((0.5, 0.0, 0.06), geometry.rot_z(np.pi / 2) @ DOWN, score=0.7),
        grasp((0.5, 0.0, 0.06), np.eye(3), score=0.8),
    ]
    ranked = filter_grasps(grasps, SCENE)
    assert [(g.score, g.rejection) for g in ranked] == [
        (0.7, ""),
        (0.5, ""),
        (0.95, "workspace"),
        (0.8, "approach"),
    ]
    assert {g.rejection for g in ranked} <= {"", *REJECTIONS}


# -- laws ---------------------------------------------------------------------------------------------------


def random_poses(n: int, seed: int) -> F64:
    g = stream(seed, "poses")
    T = np.tile(np.eye(4), (n, 1, 1))
    for i in range(n):
        T[i, :3, :3] = geometry.matrix_from_quat(g.normal(size=4))
    T[:, :3, 3] = g.uniform([0.44, -0.06, 0.06], [0.56, 0.06, 0.18], (n, 3))
    return T


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 0.08))
def test_counts_equal_a_plain_count(seed: int, width_m: float) -> None:
    """Against every point, box by box, in float64; points within a micrometre of a face may go either way."""
    poses, depths, stations = random_poses(4, seed), (0.0, 0.01), (0.0, -0.03)
    xyz = stream(seed, "points").uniform([0.35, -0.15, 0.0], [0.65, 0.15, 0.3], (3000, 3)).astype(np.float32)
    counts = count_points(poses, np.full(4, width_m), xyz, depths_m=depths, stations_m=stations)
    centres, halves = hand_boxes(np.full(4, jaw.opening_for(width_m)))
    for i, T in enumerate(poses):
        local = geometry.apply(geometry.inverse(T), xyz.astype(np.float64))
        for j, depth in enumerate(depths):
            bounds = []
            for slack in (-1e-6, 1e-6):
                worst = 0
                for station in stations:
                    p = local - [0.0, 0.0, depth + station]
                    inside = (np.abs(p[:, None] - centres[i]) <= halves + slack).all(axis=2).any(axis=1)
                    worst = max(worst, int(inside.sum()))
                bounds.append(worst)
            assert bounds[0] <= counts.touching[i, j] <= bounds[1]
            p = local - [0.0, 0.0, depth]
            between = (np.abs(p - [0, 0, 0.1033]) <= [jaw.opening_for(width_m) / 2, 0.01, 0.009]).all(axis=1)
            assert abs(int(between.sum()) - counts.between[i, j]) <= 1
            corners = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
            hand = (centres[i][:, None] + halves[:, None] * corners).reshape(-1, 3) + np.array([0.0, 0.0, depth])
            assert counts.lowest_z_m[i, j] == pytest.approx(geometry.apply(T, hand)[:, 2].min(), abs=1e-9)


@pytest.mark.parametrize("opening_m", [0.0, 0.03, 0.08])
def test_the_boxes_are_those_of_the_simulated_hand(opening_m: float) -> None:
    centres, halves = hand_boxes(np.array([opening_m]))
    expected_centres, expected_halves = panda_hand.boxes_in_hand(opening_m)
    in_hand = geometry.apply(geometry.T_HAND_FROM_GRASP, centres[0])

    def rows(c: F64, h: F64) -> list[tuple[float, ...]]:
        return sorted(map(tuple, np.round(np.c_[c, h], 9).tolist()))

    assert rows(in_hand, halves[:, [1, 0, 2]]) == rows(expected_centres, expected_halves)


def candidates(n: int, seed: int) -> tuple[F64, F64, F64, np.ndarray, F64, F64]:
    g = stream(seed, "candidates")
    poses = random_poses(n, seed)
    contacts = g.uniform(-0.1, 0.1, (n, 3))
    return poses, g.uniform(0, 0.08, n), g.uniform(0, 1, n), g.integers(0, 5, n), contacts, g.uniform(0, 1, 5)


def pose_distance(a: Grasp, b: Grasp) -> tuple[float, float]:
    """Distance of the contact middles and the angle between the frames, fingers exchangeable."""
    R = a.T_base_grasp[:3, :3].T @ b.T_base_grasp[:3, :3]
    angle = min(geometry.rotation_angle(R), geometry.rotation_angle(R @ geometry.rot_z(np.pi)))
    return float(np.linalg.norm(contact_middle(a) - contact_middle(b))), angle


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 120), st.integers(0, 10_000))
def test_suppression_leaves_no_near_pair_and_drops_nothing_else(n: int, seed: int) -> None:
    poses, width, mask, query, contacts, objectness = candidates(n, seed)
    config = PostprocessConfig(nms_distance_m=0.05, nms_angle_rad=1.0)
    ranked = rank_grasps(poses, width, mask, query, contacts, objectness, config)
    scores = [g.score for g in ranked]
    assert scores == sorted(scores, reverse=True)
    for i, a in enumerate(ranked):
        for b in ranked[:i]:
            distance, angle = pose_distance(a, b)
            assert distance >= 0.05 or angle >= 1.0 - 1e-9
    everything = [Grasp(poses[i], width[i], float(mask[i] * objectness[query[i]]), contacts[i]) for i in range(n)]
    kept = {tuple(g.contact) for g in ranked}
    for g in everything:  # whatever was dropped has a better kept neighbour
        if tuple(g.contact) not in kept:
            near = [r for r in ranked if all(np.less(pose_distance(g, r), (0.05, 1.0 + 1e-9)))]
            assert any(r.score >= g.score for r in near)


def test_a_half_turn_about_the_approach_is_the_same_grasp() -> None:
    a, b = grasp((0.5, 0.0, 0.06), score=0.6), grasp((0.5, 0.0, 0.06), DOWN @ geometry.rot_z(np.pi), score=0.8)
    c = grasp((0.5, 0.0, 0.06), DOWN @ geometry.rot_z(np.pi / 2), score=0.7)
    poses = np.stack([g.T_base_grasp for g in (a, b, c)])
    contacts = np.stack([g.contact for g in (a, b, c)])
    ranked = rank_grasps(poses, [0.04] * 3, [0.6, 0.8, 0.7], [0, 1, 0], contacts)
    assert [g.score for g in ranked] == [0.8, 0.7]
    assert [g.object_id for g in ranked] == [1, 0]


def test_score_is_objectness_times_mask_and_caps_hold() -> None:
    poses, width, mask, query, contacts, objectness = candidates(100, 0)
    loose = PostprocessConfig(nms_distance_m=0.0)
    ranked = rank_grasps(poses, width, mask, query, contacts, objectness, loose)
    assert len(ranked) == 100
    np.testing.assert_allclose([g.score for g in ranked], np.sort(mask * objectness[query])[::-1])
    capped = rank_grasps(
        poses, width, mask, query, contacts, objectness, replace(loose, max_grasps=20, max_per_object=5)
    )
    assert len(capped) == 20
    assert max(sum(g.object_id == q for g in capped) for q in range(5)) == 5
    without = rank_grasps(poses, width, mask, query, contacts, None, loose)
    np.testing.assert_allclose([g.score for g in without], np.sort(mask)[::-1])


def test_a_contact_shared_by_two_queries_goes_to_the_surer_one() -> None:
    poses, width, _, _, contacts, _ = candidates(2, 0)
    ranked = rank_grasps(poses, width, [0.6, 0.9], [3, 1], np.repeat(contacts[:1], 2, axis=0))
    assert [g.object_id for g in ranked] == [1]


def test_tensors_are_accepted_and_non_finite_candidates_dropped() -> None:
    poses, width, mask, query, contacts, objectness = candidates(6, 1)
    poses[1, 0, 0], width[2], mask[3], contacts[4, 2] = np.nan, np.inf, np.nan, np.nan
    ranked = rank_grasps(*map(torch.from_numpy, (poses, width, mask, query, contacts, objectness)))
    assert {tuple(g.contact) for g in ranked} <= {tuple(contacts[0]), tuple(contacts[5])}
    assert len(ranked) == 2


def test_nothing_in_gives_nothing_out() -> None:
    empty = rank_grasps(np.zeros((0, 4, 4)), [], [], [], np.zeros((0, 3)), [0.5])
    assert empty == ()
    assert filter_grasps(empty, SCENE) == ()
    assert [g.rejection for g in filter_grasps([grasp((0.5, 0, 0.06))], np.zeros((0, 3), np.float32))] == ["empty"]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 50), st.integers(0, 10_000))
def test_each_point_belongs_to_its_most_probable_kept_query(queries: int, n: int, seed: int) -> None:
    g = stream(seed, "masks")
    masks = np.round(g.random((queries, n)), 1)  # rounded: ties occur
    kept = g.random(queries) < 0.7
    query, point = assign_points(masks, kept, 0.4)
    assert len(set(point.tolist())) == len(point)
    assert kept[query].all()
    found = dict(zip(point.tolist(), query.tolist(), strict=True))
    for p in range(n):
        rivals = [(-masks[q, p], q) for q in range(queries) if kept[q] and masks[q, p] > 0.4]
        assert found.get(p) == (min(rivals)[1] if rivals else None)
    assert list(zip(query.tolist(), point.tolist(), strict=True)) == sorted(
        zip(query.tolist(), point.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_grasps": 0}, "max_grasps is 0"),
        ({"depths_m": (0.01,)}, "expected to hold 0"),
        ({"depths_m": (0.0, 0.03)}, "within ±0.02 m"),
        ({"nms_angle_rad": 4.0}, "within 0..π"),
    ],
)
def test_unusable_settings_are_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PostprocessConfig(**values)  # type: ignore[arg-type]


@given(width_m=st.floats(0.0, 0.08), clearance_m=st.floats(0.0, 0.02), yaw=st.floats(-3.1, 3.1))
def test_leaning_away_keeps_the_near_finger_off_the_contact(width_m: float, clearance_m: float, yaw: float) -> None:
    T = geometry.from_rt(geometry.rot_x(np.pi) @ geometry.rot_z(yaw), [0.5, 0.0, 0.15])
    contact = T[:3, 3] + geometry.HAND_DEPTH_M * T[:3, 2] - width_m / 2.0 * T[:3, 0]
    grasp = Grasp(T, width_m, 0.9, contact)
    (leaned,) = lean_away([grasp], clearance_m)
    moved = leaned.T_base_grasp[:3, 3] - T[:3, 3]
    np.testing.assert_allclose(leaned.T_base_grasp[:3, :3], T[:3, :3])
    assert moved @ T[:3, 0] >= 0.0  # never towards the seen side
    np.testing.assert_allclose(moved, (moved @ T[:3, 0]) * T[:3, 0], atol=1e-12)
    middle = leaned.T_base_grasp[:3, 3] + geometry.HAND_DEPTH_M * T[:3, 2]
    near_finger = middle - jaw.opening_for(width_m) / 2.0 * T[:3, 0]
    room = float((contact - near_finger) @ T[:3, 0])
    slack = (jaw.opening_for(width_m) - width_m) / 2.0
    assert room == pytest.approx(min(clearance_m, slack) if slack > clearance_m else slack, abs=1e-9)
