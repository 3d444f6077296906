"""Which query stands for which object: assignment of least cost (M2T2 section 3.4)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sinew_policies.m2t2.decoder import MaskPrediction


@dataclass(frozen=True)
class MatchWeights:
    objectness: float = 2.0
    bce: float = 5.0
    dice: float = 5.0


@dataclass(frozen=True)
class Matching:
    """M matched pairs of the whole batch, scene by scene, objects ascending within a scene."""

    scene: Tensor  # (M,) int64
    object: Tensor  # (M,) int64 row of the scene's target masks
    query: Tensor  # (M,) int64

    def per_scene(self, n_scenes: int) -> list[list[int]]:
        """Query of each object, scene by scene."""
        return [self.query[self.scene == i].tolist() for i in range(n_scenes)]


def match(
    prediction: MaskPrediction,
    target_masks: Tensor,
    n_objects: list[int],
    weights: MatchWeights,
    known: Tensor | None = None,
) -> Matching:
    """Assignment per scene. target_masks (B, T, N) float, rows beyond n_objects[b] are padding;
    known (B, N) float, 0 where a point says nothing."""
    cost = match_costs(prediction, target_masks, weights, known).cpu().numpy()
    rows = [_assign(cost[b, :, :n], b) for b, n in enumerate(n_objects)]
    scene, obj, query = np.concatenate(rows, 1)
    device = target_masks.device
    return Matching(*(torch.from_numpy(x).to(device) for x in (scene, obj, query)))


@torch.no_grad()
def match_costs(
    prediction: MaskPrediction, target_masks: Tensor, weights: MatchWeights, known: Tensor | None = None
) -> Tensor:
    """Cost (B, Q, T) of every query for every object, over all points."""
    logits, target = prediction.grasp_masks.float(), target_masks.transpose(1, 2)  # (B, Q, N), (B, N, T)
    probability, positive = logits.sigmoid(), F.softplus(logits)
    if known is None:
        n_points: Tensor | float = float(logits.shape[2])
    else:
        probability, positive = probability * known[:, None], positive * known[:, None]
        n_points = known.sum(1).clamp(min=1.0)[:, None, None]
    bce = (positive.sum(2, keepdim=True) - logits @ target) / n_points
    inter = probability @ target
    dice = 1.0 - (2.0 * inter + 1.0) / (probability.sum(2, keepdim=True) + target.sum(1, keepdim=True) + 1.0)
    cost = weights.bce * bce + weights.dice * dice
    if prediction.objectness is not None:
        cost = cost - weights.objectness * prediction.objectness.float().sigmoid()[:, :, None]
    return cost


def _assign(cost: NDArray[np.float32], scene: int) -> NDArray[np.int64]:
    """(3, matched): scene, object, query; objects ascending."""
    query, obj = linear_sum_assignment(np.nan_to_num(cost, nan=1e6, posinf=1e6))
    order = np.argsort(obj)
    return np.stack([np.full(len(obj), scene), obj[order], query[order]]).astype(np.int64)
