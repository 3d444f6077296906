"""From mask logits to grasp and placement poses (M2T2 section 3.3), one cloud at a time."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sinew_policies.m2t2.actions import bin_centres_m, grasp_poses
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.network import M2T2, M2T2Output


@dataclass(frozen=True)
class GraspCandidates:
    """K grasps, query by query, within a query in point order."""

    query: Tensor  # (K,) int64
    point: Tensor  # (K,) int64 index of the contact in the network's cloud
    poses: Tensor  # (K, 4, 4) M2T2's hand frame in the frame of the contacts
    width_m: Tensor  # (K,)
    confidence: Tensor  # (K,) mask probability at the contact
    kept: Tensor  # (queries kept,) int64


@dataclass(frozen=True)
class Placements:
    """K gripper poses at which the held object would stand at a point, rotated by 2π·slot/slots about z."""

    slot: Tensor  # (K,) int64
    poses: Tensor  # (K, 4, 4)
    confidence: Tensor  # (K,)


def kept_queries(objectness: Tensor | None, counts: Tensor, threshold: float, *, odd_only: bool) -> Tensor:
    """Ids of the grasp queries that stand for an object; objectness (Q,) logits, counts (Q,) mask points.

    Without objectness (one query) all are kept. The published code keeps `odd_only` counts: its operator
    precedence turns "and any point" into a bitwise AND with the count.
    """
    if objectness is None:
        return torch.arange(len(counts), device=counts.device)
    seen = counts % 2 == 1 if odd_only else counts > 0
    return torch.nonzero((objectness.sigmoid() > threshold) & seen).squeeze(1)


def decode_grasps(
    network: M2T2, output: M2T2Output, points: Tensor, item: int = 0, *, odd_only: bool | None = None
) -> GraspCandidates:
    """Candidates of cloud `item`; points (N, 3) are its coordinates in the frame the poses shall be in.

    `odd_only` as in `kept_queries`, by default where the configuration is `compat`.
    """
    c = network.config
    odd_only = c.compat if odd_only is None else odd_only
    last = output.decoder.predictions[-1]
    probability = last.grasp_masks[item].sigmoid()
    inside = probability > c.mask_threshold
    objectness = None if last.objectness is None else last.objectness[item]
    kept = kept_queries(objectness, inside.sum(1), c.object_threshold, odd_only=odd_only)
    chosen = torch.zeros_like(inside)
    chosen[kept] = inside[kept]
    if c.max_points_per_query is not None:
        chosen &= _top(probability.where(chosen, -1.0), c.max_points_per_query)
    query, point = torch.nonzero(chosen, as_tuple=True)
    return candidates_at(network, output, points, query, point, probability[query, point], kept, item)


def candidates_at(
    network: M2T2,
    output: M2T2Output,
    points: Tensor,
    query: Tensor,
    point: Tensor,
    confidence: Tensor,
    kept: Tensor,
    item: int = 0,
) -> GraspCandidates:
    """Candidates at given contacts: query, point, confidence each (K,)."""
    c = network.config
    actions = network.actions(output, torch.full_like(point, item), query, point)
    width_m = bin_centres_m(c, points)[actions.width_logits.argmax(1)]
    poses = grasp_poses(points[point], actions.contact_dir, actions.approach_dir, width_m, c.gripper_depth_m)
    return GraspCandidates(query, point, poses, width_m, confidence, kept)


def decode_placements(
    output: M2T2Output, points: Tensor, T_ee: Tensor, bottom_centre: Tensor, config: M2T2Config, item: int = 0
) -> Placements:
    """Placements of cloud `item`. T_ee (4, 4): gripper pose while holding; bottom_centre (3,): lowest point of
    the held object under its middle; both in the frame of points (N, 3)."""
    masks = output.decoder.predictions[-1].place_masks
    assert masks is not None, "the network has no place queries"
    probability = masks[item].sigmoid()
    slot, point = torch.nonzero(probability > config.mask_threshold, as_tuple=True)
    yaw = torch.arange(len(probability), device=points.device) * (2 * math.pi / len(probability))
    R = torch.zeros(len(probability), 3, 3, dtype=points.dtype, device=points.device)
    R[:, 0, 0] = R[:, 1, 1] = yaw.cos()
    R[:, 1, 0], R[:, 0, 1] = yaw.sin(), -yaw.sin()
    R[:, 2, 2] = 1.0
    poses = points.new_zeros(len(slot), 4, 4)
    poses[:, :3, :3] = (R @ T_ee[:3, :3])[slot]
    poses[:, :3, 3] = points[point] + (R @ (T_ee[:3, 3] - bottom_centre))[slot]
    poses[:, 2, 3] += config.place_lift_m
    poses[:, 3, 3] = 1.0
    return Placements(slot, poses, probability[slot, point])


def _top(values: Tensor, n: int) -> Tensor:
    """Boolean mask (Q, N) of the n largest values of each row."""
    if values.shape[1] <= n:
        return torch.ones_like(values, dtype=torch.bool)
    keep = torch.zeros_like(values, dtype=torch.bool)
    return keep.scatter_(1, values.topk(n, dim=1).indices, True)
