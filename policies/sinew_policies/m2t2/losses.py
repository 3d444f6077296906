"""Training losses of M2T2 (section 3.4): objectness, masks, actions, placement."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from sinew_policies.common.errors import DataError
from sinew_policies.m2t2.actions import Actions, bin_centres_m, grasp_poses
from sinew_policies.m2t2.adds import AddsTerms, adds_terms
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.decoder import MaskPrediction
from sinew_policies.m2t2.matching import Matching, MatchWeights, match
from sinew_policies.m2t2.network import M2T2, M2T2Output
from sinew_policies.m2t2.targets import ContactLabels, ExtraLabels, Targets

PUBLISHED_WIDTH_CLASS_WEIGHTS = (
    0.16652107,
    0.21488856,
    0.37031708,
    0.55618503,
    0.75124664,
    0.93943357,
    1.07824539,
    1.19423112,
    1.55731375,
    3.17161779,
)


@dataclass(frozen=True)
class LossConfig:
    """Term weights; defaults are the published ones. Terms of weight 0 need `log_all`."""

    match: MatchWeights = field(default_factory=MatchWeights)
    objectness: float = 2.0
    unmatched_factor: float = 0.1
    grasp_topk: int | None = 512
    grasp_bce: float = 5.0
    grasp_dice: float = 5.0
    place_topk: int = 1024
    place_bce: float = 5.0
    place_dice: float = 5.0
    all_layers: bool = True
    rematch_each_layer: bool = True
    adds_pred_to_gt: float = 100.0
    adds_gt_to_pred: float = 0.0
    contact_dir: float = 0.0
    approach_dir: float = 0.0
    width_bin: float = 1.0
    width_class_weights: tuple[float, ...] = PUBLISHED_WIDTH_CLASS_WEIGHTS
    confidence_threshold: float = 0.5
    max_predictions: int | None = None  # action predictions per object that enter ADD-S; None: all
    detach_confidence: bool = False  # published: bad poses also lower their mask
    point_bce: float = 0.0  # dense head
    point_dice: float = 0.0
    params: float = 1.0  # language variant only, as `release`
    release: float = 1.0
    published_label_order: bool = False  # pairs labels and predictions as the published loader does
    log_all: bool = True  # also compute terms of weight 0

    @staticmethod
    def small() -> "LossConfig":
        """For few steps on a CPU: directions are supervised at the contacts, ADD-S is capped."""
        return LossConfig(
            adds_pred_to_gt=20.0,
            contact_dir=5.0,
            approach_dir=5.0,
            width_bin=2.0,
            width_class_weights=(1.0,) * 10,
            max_predictions=32,
            detach_confidence=True,
            point_bce=5.0,
            point_dice=2.0,
            log_all=False,
        )


@dataclass(frozen=True)
class Term:
    weight: float
    value: Tensor


@dataclass(frozen=True)
class LossResult:
    terms: dict[str, Term]
    total: Tensor
    matchings: tuple[Matching, ...]  # one per prediction, last first
    n_predictions: Tensor  # (M,) grasps predicted for each pair of the last matching


def m2t2_loss(network: M2T2, output: M2T2Output, targets: Targets, loss: LossConfig) -> LossResult:
    """All terms of a batch. Names without prefix are of the last prediction, `layerK/` of prediction K - 1."""
    predictions = output.decoder.predictions
    n_earlier = len(predictions) - 1 if loss.all_layers else 0
    ordered = [("", predictions[-1])] + [(f"layer{i + 1}/", predictions[i]) for i in range(n_earlier)]
    terms: dict[str, Term] = {}
    matchings: list[Matching] = []
    picks = targets.pick_scenes
    for prefix, prediction in ordered:
        if not matchings or loss.rematch_each_layer:
            matching = match(prediction, targets.grasp_masks, targets.n_objects, loss.match, targets.known)
        matchings.append(matching)
        if picks:
            _mask_terms(terms, prefix, prediction, matching, targets, picks, loss)
        if targets.place_masks is not None and prediction.place_masks is not None:
            _place_terms(terms, prefix, prediction.place_masks, targets, loss)
    n_predictions = torch.zeros(len(matchings[0].scene), dtype=torch.int64)
    if len(matchings[0].scene):
        _label_terms(terms, network, output, matchings[0], targets, loss)
        if loss.adds_pred_to_gt or loss.adds_gt_to_pred or loss.log_all:
            n_predictions = _adds(terms, network, output, matchings[0], targets, loss)
    if output.point_logits is not None and loss.point_bce:
        _point_terms(terms, output.point_logits, targets, loss)
    if targets.extras is not None:
        _extra_terms(terms, network, output, targets.extras, loss)
    total = torch.stack([t.weight * t.value for t in terms.values() if t.weight]).sum()
    return LossResult(terms, total, tuple(matchings), n_predictions)


def _mask_terms(
    terms: dict[str, Term],
    prefix: str,
    prediction: MaskPrediction,
    matching: Matching,
    targets: Targets,
    picks: list[int],
    loss: LossConfig,
) -> None:
    if prediction.objectness is not None:
        logits = prediction.objectness[picks].float()
        wanted = torch.zeros_like(prediction.objectness, dtype=torch.float32)
        wanted[matching.scene, matching.query] = 1.0
        wanted = wanted[picks]
        weight = wanted + (1.0 - wanted) * loss.unmatched_factor
        value = F.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum") / len(picks)
        terms[prefix + "objectness"] = Term(loss.objectness, value)
    if len(matching.scene):
        logits = prediction.grasp_masks[matching.scene, matching.query].float()  # (M, N)
        wanted = targets.grasp_masks[matching.scene, matching.object]
        known = None if targets.known is None else targets.known[matching.scene]
        bce, dice = mask_losses(logits, wanted, loss.grasp_topk, known)
        terms[prefix + "grasping_bce"] = Term(loss.grasp_bce, bce)
        terms[prefix + "grasping_dice"] = Term(loss.grasp_dice, dice)


def mask_losses(
    logits: Tensor, wanted: Tensor, topk: int | None, known: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean BCE and dice of mask rows (M, N), each row on its `topk` worst points (None: on all)."""
    value = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if known is not None:
        value = value * known
    probability = logits.sigmoid()
    if topk is not None and topk < logits.shape[1]:
        value, idx = value.topk(topk, dim=1)
        probability, wanted = probability.gather(1, idx), wanted.gather(1, idx)
        known = None if known is None else known.gather(1, idx)
    if known is not None:
        probability, wanted = probability * known, wanted * known
    dice = 1.0 - (2.0 * (probability * wanted).sum(1) + 1.0) / (probability.sum(1) + wanted.sum(1) + 1.0)
    return value.mean(), dice.mean()


def _place_terms(terms: dict[str, Term], prefix: str, masks: Tensor, targets: Targets, loss: LossConfig) -> None:
    assert targets.is_place is not None
    assert targets.place_masks is not None
    assert targets.place_region is not None
    if not bool(targets.is_place.any()):
        return
    logits = masks[targets.is_place].float().flatten(0, 1)  # (scenes · R, N)
    wanted = targets.place_masks[targets.is_place].flatten(0, 1)
    n_rotations = masks.shape[1]
    region = targets.place_region[targets.is_place].repeat_interleave(n_rotations, 0)
    value = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * region
    value, idx = value.topk(min(loss.place_topk, logits.shape[1]), dim=1)
    probability, wanted = logits.sigmoid().gather(1, idx), wanted.gather(1, idx)
    dice = 1.0 - (2.0 * (probability * wanted).sum(1) + 1.0) / (probability.sum(1) + wanted.sum(1) + 1.0)
    terms[prefix + "placement_bce"] = Term(loss.place_bce, value.mean())
    terms[prefix + "placement_dice"] = Term(loss.place_dice, dice.mean())


def _label_terms(
    terms: dict[str, Term],
    network: M2T2,
    output: M2T2Output,
    matching: Matching,
    targets: Targets,
    loss: LossConfig,
) -> None:
    """Directions and width class at the labelled contacts."""
    labels = targets.labels.in_point_order() if loss.published_label_order else targets.labels
    if not len(labels.point):
        return
    query = _query_of(labels, matching, targets)
    actions = network.actions(output, labels.scene, query, labels.point)
    for name, weight, got, wanted in (
        ("contact_dir", loss.contact_dir, actions.contact_dir, labels.contact_dir),
        ("approach_dir", loss.approach_dir, actions.approach_dir, labels.approach_dir),
    ):
        if weight or loss.log_all:
            terms[name] = Term(weight, (1.0 - (got.float() * wanted).sum(1)).mean())
    edges = torch.tensor(network.config.width_edges_m, device=labels.width_m.device)
    classes = torch.bucketize(labels.width_m, edges).sub(1).clamp(0, len(edges) - 2)
    entropy = F.cross_entropy(actions.width_logits.float(), classes, reduction="none")
    weights = torch.tensor(loss.width_class_weights, device=edges.device)[classes]
    terms["offset"] = Term(loss.width_bin, (weights * entropy).mean())


def _query_of(labels: ContactLabels, matching: Matching, targets: Targets) -> Tensor:
    """Query matched to each label's object; 0 where there were more objects than queries."""
    table = torch.zeros(targets.grasp_masks.shape[:2], dtype=torch.int64, device=labels.scene.device)
    table[matching.scene, matching.object] = matching.query
    return table[labels.scene, labels.object]


def _adds(
    terms: dict[str, Term],
    network: M2T2,
    output: M2T2Output,
    matching: Matching,
    targets: Targets,
    loss: LossConfig,
) -> Tensor:
    config = network.config
    logits = output.decoder.predictions[-1].grasp_masks[matching.scene, matching.query].float()  # (M, N)
    confidence = logits.sigmoid()
    wanted = targets.grasp_masks[matching.scene, matching.object] > 0
    chosen = (confidence > loss.confidence_threshold) | wanted
    if loss.max_predictions is not None:
        chosen = _cap(chosen, loss.max_predictions)
    pair, point = torch.nonzero(chosen, as_tuple=True)
    scene = matching.scene[pair]
    actions = network.actions(output, scene, matching.query[pair], point)
    poses = _poses(actions, targets.points[scene, point], config)
    weight = confidence[pair, point]
    if loss.detach_confidence:
        weight = weight.detach()
    value: AddsTerms = adds_terms(
        poses,
        weight,
        pair,
        matching,
        targets.grasps,
        targets.grasp_objects,
        with_gt_to_pred=bool(loss.adds_gt_to_pred) or loss.log_all,
    )
    terms["adds_pred2gt"] = Term(loss.adds_pred_to_gt, value.pred_to_gt)
    if value.gt_to_pred is not None:
        terms["adds_gt2pred"] = Term(loss.adds_gt_to_pred, value.gt_to_pred)
    return chosen.sum(1)


def _poses(actions: Actions, contacts: Tensor, config: M2T2Config) -> Tensor:
    width_m = bin_centres_m(config, contacts)[actions.width_logits.argmax(1)]
    return grasp_poses(
        contacts, actions.contact_dir.float(), actions.approach_dir.float(), width_m, config.gripper_depth_m
    )


def _cap(chosen: Tensor, n: int) -> Tensor:
    """At most n of each row, evenly spread over its set points."""
    rank = chosen.cumsum(1)
    step = (rank[:, -1:] / n).clamp(min=1.0)
    first_of_step = torch.floor((rank - 1) / step) != torch.floor((rank - 2) / step)
    return chosen & first_of_step


def _point_terms(terms: dict[str, Term], logits: Tensor, targets: Targets, loss: LossConfig) -> None:
    """Dense head: is the point a good contact of whatever object?"""
    wanted = targets.grasp_masks.amax(1)
    bce, dice = mask_losses(logits.float(), wanted, None, targets.known)
    terms["point_bce"] = Term(loss.point_bce, bce)
    terms["point_dice"] = Term(loss.point_dice, dice)


def _extra_terms(
    terms: dict[str, Term], network: M2T2, output: M2T2Output, labels: ExtraLabels, loss: LossConfig
) -> None:
    """Language variant: every grasp query of a scene answers for that scene's motion parameters and release."""
    if not network.config.n_extra_params:
        raise DataError(
            "the labels hold params and release, but this network has no such heads (n_extra_params 0); "
            "use M2T2Config.language() or leave Targets.extras out"
        )
    got = network.grasp_mlp.extras(output.decoder.grasp_embedding)
    wanted = labels.params[:, None].expand_as(got.params)
    terms["params"] = Term(loss.params, F.mse_loss(got.params.float(), wanted))
    release = labels.release[:, None].expand_as(got.release_logit)
    terms["release"] = Term(loss.release, F.binary_cross_entropy_with_logits(got.release_logit.float(), release))
