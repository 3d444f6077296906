"""Scores of a network on held-out labelled scenes, without physics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sinew_policies.common.seeds import stream
from sinew_policies.m2t2.adds import nearest
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.dataset import Augmentation, collate, make_sample, to_device
from sinew_policies.m2t2.losses import LossConfig, m2t2_loss
from sinew_policies.m2t2.network import M2T2
from sinew_policies.m2t2.ranking import ranked_candidates
from sinew_policies.m2t2.shards import TrainingScene

GOOD_ADDS_M = 0.02
_TOP = 10
_BATCH = 8


@dataclass(frozen=True)
class Scores:
    loss: float
    top1: float  # share of scenes whose best candidate is within GOOD_ADDS_M of a good grasp
    top10: float  # the same, over the ten best candidates
    adds_mm: float  # median over the ten best
    coverage: float  # share of graspable objects with a good candidate among all
    point_iou: float  # of mask unions with labelled contacts, at the mask threshold


@torch.no_grad()
def validate(
    network: M2T2,
    scenes: Sequence[TrainingScene],
    loss: LossConfig,
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> Scores:
    """The network must be in evaluation mode. Points are drawn from `seed`; nothing else is random."""
    config: M2T2Config = network.config
    losses: list[float] = []
    best: list[float] = []
    top: list[float] = []
    covered, objects = 0, 0
    inter, union = 0.0, 0.0
    for start in range(0, len(scenes), _BATCH):
        part = scenes[start : start + _BATCH]
        samples = [
            make_sample(s, config, Augmentation.none(), stream(seed, "validation", s.scene_id)) for s in part
        ]
        batch, targets = collate(samples, config)
        if device is not None:
            batch, targets = to_device(batch, device), to_device(targets, device)
        output = network(batch)
        losses.append(float(m2t2_loss(network, output, targets, loss).total))
        inside = output.decoder.predictions[-1].grasp_masks.sigmoid().amax(1) > config.mask_threshold
        wanted = targets.grasp_masks.amax(1) > 0
        inter += float((inside & wanted).sum())
        union += float((inside | wanted).sum())
        for b in range(len(part)):
            objects += len(set(targets.grasp_objects[b].tolist()))
            found = ranked_candidates(network, output, targets.points[b], b)
            if not len(found.query):
                best.append(np.inf)
                continue
            distance, index, _ = nearest(found.poses, targets.grasps[b])
            best.append(float(distance[0]))
            top += distance[:_TOP].tolist()
            covered += len(set(targets.grasp_objects[b][index[distance < GOOD_ADDS_M]].tolist()))
    return Scores(
        loss=float(np.mean(losses)),
        top1=float(np.mean(np.array(best) < GOOD_ADDS_M)),
        top10=float(np.mean(np.array(top) < GOOD_ADDS_M)) if top else 0.0,
        adds_mm=1e3 * float(np.median(top)) if top else float("inf"),
        coverage=covered / max(1, objects),
        point_iou=inter / max(1.0, union),
    )
