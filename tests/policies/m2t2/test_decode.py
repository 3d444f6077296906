"""Poses follow from contacts, directions and widths; selection rules; losses and matching on known cases."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from policies.m2t2.small_networks import TINY, cloud, tiny

from sinew_policies.common.seeds import stream
from sinew_policies.m2t2.actions import grasp_poses
from sinew_policies.m2t2.adds import control_points, nearest
from sinew_policies.m2t2.decode import decode_grasps, decode_placements
from sinew_policies.m2t2.decoder import MaskPrediction
from sinew_policies.m2t2.losses import mask_losses
from sinew_policies.m2t2.matching import MatchWeights, match
from sinew_policies.m2t2.network import SceneInput
from sinew_policies.m2t2.optimise import lr_factor
from sinew_policies.m2t2.ranking import ranked_candidates
from sinew_policies.m2t2.sampling import TABLE_HEIGHT_M, choose_points


def test_pose_puts_the_contact_line_between_the_fingers() -> None:
    contact = torch.tensor([[0.4, 0.1, 0.05]])
    T = grasp_poses(
        contact, torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, -1.0]]), torch.tensor([0.06]), 0.1034
    )[0]
    middle = T[:3, 3] + 0.1034 * T[:3, 2]
    torch.testing.assert_close(middle, torch.tensor([0.4, 0.13, 0.05]))
    torch.testing.assert_close(torch.linalg.det(T[:3, :3]), torch.tensor(1.0))


def test_three_grasps_are_decoded_like_any_other_number() -> None:
    """The published code crosses the wrong axis when exactly three grasps come out."""
    directions = torch.nn.functional.normalize(torch.randn(3, 3), dim=1)
    approach = torch.linalg.cross(directions, torch.roll(directions, 1, 0), dim=1)
    approach = torch.nn.functional.normalize(approach, dim=1)
    together = grasp_poses(torch.zeros(3, 3), directions, approach, torch.full((3,), 0.05), 0.1)
    for i in range(3):
        alone = grasp_poses(
            torch.zeros(1, 3), directions[i : i + 1], approach[i : i + 1], torch.full((1,), 0.05), 0.1
        )
        torch.testing.assert_close(together[i], alone[0])


@torch.no_grad()
def test_every_decoded_pose_is_rigid_and_every_ranked_contact_unique() -> None:
    network, xyz = tiny(), cloud()
    output = network(SceneInput(xyz))
    for found in (
        decode_grasps(network, output, xyz[0], odd_only=False),
        ranked_candidates(network, output, xyz[0]),
    ):
        R = found.poses[:, :3, :3]
        torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3).expand_as(R), atol=1e-4, rtol=0)
        assert bool((torch.linalg.det(R) > 0.99).all())
    ranked = ranked_candidates(network, output, xyz[0])
    assert len(ranked.point) == len(torch.unique(ranked.point)) > 0
    assert bool((ranked.confidence.diff() <= 0).all())


@torch.no_grad()
def test_placements_turn_the_held_pose_about_the_vertical() -> None:
    network, xyz = tiny(), cloud()
    output = network(SceneInput(xyz, held_xyz=torch.rand(1, 64, 3) - 0.5, is_place=torch.tensor([True])))
    T_ee = torch.eye(4)
    T_ee[:3, 3] = torch.tensor([0.1, 0.0, 0.3])
    bottom = torch.tensor([0.15, 0.0, 0.2])
    found = decode_placements(output, xyz[0], T_ee, bottom, network.config)
    assert len(found.slot) > 0
    yaw = torch.atan2(found.poses[:, 1, 0], found.poses[:, 0, 0])
    expected = found.slot * (2 * math.pi / TINY.n_place_queries)
    torch.testing.assert_close(torch.cos(yaw - expected), torch.ones_like(yaw))
    # The held object's bottom, carried along, stands the lift above one of the points.
    carried = (found.poses @ torch.linalg.inv(T_ee) @ torch.tensor([*bottom, 1.0]))[:, :3]
    carried[:, 2] -= network.config.place_lift_m
    nearest_m = torch.cdist(carried, xyz[0], compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    assert float(nearest_m.max()) < 1e-5


def test_adds_ignores_a_half_turn_and_measures_a_shift() -> None:
    grasps = torch.eye(4).repeat(2, 1, 1)
    grasps[1, 0, 3] = 1.0
    turned = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))[None].clone()
    distance, index, flipped = nearest(turned, grasps)
    assert distance.item() == pytest.approx(0.0, abs=2e-4)  # the outline is not quite symmetric
    assert (index.item(), flipped.item()) == (0, True)
    shifted = grasps[1:].clone()
    shifted[0, 2, 3] = 0.03
    distance, index, flipped = nearest(shifted, grasps)
    assert distance.item() == pytest.approx(0.03, abs=1e-6)
    assert (index.item(), flipped.item()) == (1, False)
    assert control_points(grasps).shape == (2, 5, 3)


def test_matching_finds_the_permutation() -> None:
    target = torch.zeros(1, 3, 30)
    for j in range(3):
        target[0, j, 10 * j : 10 * j + 10] = 1.0
    logits = (target[:, [2, 0, 1, 1]] * 2 - 1) * 5.0
    prediction = MaskPrediction(torch.tensor([[3.0, 3.0, -3.0, 3.0]]), logits, None)
    assert match(prediction, target, [3], MatchWeights()).per_scene(1) == [[1, 3, 0]]


def test_more_objects_than_queries_leave_some_unmatched() -> None:
    target = torch.eye(5).repeat_interleave(4, 1)[None]
    prediction = MaskPrediction(None, torch.randn(1, 2, 20), None)
    pairs = match(prediction, target, [5], MatchWeights())
    assert len(pairs.query) == 2
    assert bool((pairs.object.diff() > 0).all())


def test_unknown_points_do_not_matter() -> None:
    logits, wanted = torch.randn(4, 60), (torch.rand(4, 60) > 0.7).float()
    known = torch.ones(4, 60)
    known[:, :20] = 0.0
    changed = logits.clone()
    changed[:, :20] = 40.0
    for a, b in zip(mask_losses(logits, wanted, 30, known), mask_losses(changed, wanted, 30, known), strict=True):
        torch.testing.assert_close(a, b)


def test_table_gets_its_share_and_no_more() -> None:
    rng = stream(0, "sampling test")
    xyz = np.concatenate([np.zeros((900, 3)), rng.uniform(0.02, 0.1, (300, 3))]).astype(np.float32)
    idx = choose_points(xyz, 200, rng, table_share=0.2)
    assert (xyz[idx, 2] < TABLE_HEIGHT_M).sum() == 40
    assert len(set(idx.tolist())) == 200
    few = choose_points(xyz[:950], 200, rng, table_share=0.2)
    assert (xyz[few, 2] >= TABLE_HEIGHT_M).sum() == 50  # the table fills what objects cannot
    tiny_cloud = choose_points(xyz[:10], 25, rng)
    assert np.bincount(tiny_cloud).max() == 3


def test_learning_rate_rises_then_falls() -> None:
    factors = [lr_factor(s, s / 1000, 100) for s in range(1001)]
    assert factors[0] == pytest.approx(0.01)
    assert max(factors) == pytest.approx(factors[100], rel=0.03)
    assert all(a >= b for a, b in pairwise(factors[101:]))
    assert factors[-1] == pytest.approx(0.02)
