"""ADD-S: distance of a predicted gripper to the nearest good one, by five control points (M2T2 section 3.4).

A gripper turned by 180° about its approach axis is the same gripper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sinew_policies.m2t2.matching import Matching

# Gripper outline in M2T2's hand frame, metres: origin, fingertips, finger roots.
_X, _Y, _Z_TIP, _Z_ROOT = 0.05268743, 0.00005996, 0.10527314, 0.07527314
_CONTROL = (
    (0.0, 0.0, 0.0),
    (_X, -_Y, _Z_TIP),
    (-_X, _Y, _Z_TIP),
    (_X, -_Y, _Z_ROOT),
    (-_X, _Y, _Z_ROOT),
)
_FLIPPED = (0, 2, 1, 4, 3)

_CHUNK = 2**21  # distances computed at a time


@dataclass(frozen=True)
class AddsTerms:
    pred_to_gt: Tensor
    gt_to_pred: Tensor | None


def control_points(poses: Tensor, *, flipped: bool = False) -> Tensor:
    """(K, 4, 4) -> (K, 5, 3), fingers swapped if `flipped`."""
    points = poses.new_tensor(_CONTROL)
    if flipped:
        points = points[list(_FLIPPED)]
    return points @ poses[:, :3, :3].transpose(1, 2) + poses[:, None, :3, 3]


def nearest(poses: Tensor, grasps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For poses (K, 4, 4) among grasps (G, 4, 4): ADD-S (K,) with gradient, index (K,), flipped (K,) bool."""
    got = control_points(poses)
    both = torch.stack([control_points(grasps), control_points(grasps, flipped=True)])  # (2, G, 5, 3)
    with torch.no_grad():
        best = torch.cat([_all_pairs(part, both).argmin(1) for part in torch.split(got, _rows(grasps))])
    flip, index = best.div(len(grasps), rounding_mode="floor"), best % len(grasps)
    distance = (got - both[flip, index]).norm(dim=2).mean(1)
    return distance, index, flip.bool()


def adds_terms(
    poses: Tensor,
    confidence: Tensor,
    pair: Tensor,
    matching: Matching,
    grasps: list[Tensor],
    grasp_objects: list[Tensor],
    *,
    with_gt_to_pred: bool,
) -> AddsTerms:
    """poses (K, 4, 4) predicted for matched pair `pair` (K,), ascending; per scene all good grasps and their
    objects. Either direction looks for the nearest in the whole scene, then averages by object."""
    scene = matching.scene[pair]
    forward = poses.new_zeros(len(poses))
    backward = []
    for b in sorted(set(matching.scene.tolist())):
        rows = torch.nonzero(scene == b).squeeze(1)
        if not len(rows) or not len(grasps[b]):
            continue
        distance, _, _ = nearest(poses[rows], grasps[b])
        forward = forward.index_put((rows,), distance * confidence[rows])
        if with_gt_to_pred:
            reverse, index, _ = nearest(grasps[b], poses[rows])
            value = reverse * confidence[rows][index]
            backward += [value[grasp_objects[b] == j].mean() for j in grasp_objects[b].unique()]
    n_pairs = len(matching.scene)
    count = torch.bincount(pair, minlength=n_pairs)
    sums = poses.new_zeros(n_pairs).index_add(0, pair, forward)
    filled = count > 0
    per_pair = sums[filled] / count[filled]
    return AddsTerms(
        per_pair.mean() if bool(filled.any()) else sums.sum(),
        torch.stack(backward).mean() if backward else None,
    )


def _all_pairs(got: Tensor, both: Tensor) -> Tensor:
    """Mean control-point distance (K, 2·G), straight grasps first."""
    total = got.new_zeros(len(got), both.shape[1] * 2)
    for i in range(got.shape[1]):
        total += torch.cdist(got[:, i], both[:, :, i].reshape(-1, 3), compute_mode="donot_use_mm_for_euclid_dist")
    return total / got.shape[1]


def _rows(grasps: Tensor) -> int:
    return max(1, _CHUNK // (2 * len(grasps)))
