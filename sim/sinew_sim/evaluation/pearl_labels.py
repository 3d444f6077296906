"""Stage `labels`: how often transferred labels are right, where the method does not abstain.

Every pair is also given to controls, which show what each part of the method is worth:
- published: the method as published, as far as it is known;
- unanchored: our coupling of distances between hand, object and goal, without the anchor;
- anchor-alone: the anchor's ranking, without a coupling;
- closeness-alone: the anchor's first feature, how close object and goal are; it uses no label, of no task;
- random: labels of a random order; flipped: the method's own labels inverted;
and plants whose right answer is mirrored. A plant counts as accepted unless it is refused, also where the method
calls its labels provisional:
- mirrored-source: the source's labels are inverted, so its preferences contradict what its features show;
- mirrored-progress: what is near the goal in the target is put far from it and back, its labels stay;
- mirrored-target: the target's preferences are inverted, which only target labels can tell.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.report import Cell, Row, metric_fields
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.pearl.align import AlignConfig, Alignment, align, published
from sinew_policies.pearl.controls import inverted, mirrored_progress
from sinew_policies.pearl.features import features
from sinew_policies.pearl.labels import PairLabels, from_matrix
from sinew_sim.evaluation.pearl_data import WHOLE, Labelled, TaskPair
from sinew_sim.evaluation.pearl_results import StageResult
from sinew_sim.evaluation.pearl_scores import Estimate, label_accuracy, share

METHOD = "cpa"
CONTROL_LABELS = ("anchor-alone", "closeness-alone", "unanchored", "published", "random", "flipped")


def judge_labels(
    pair: TaskPair,
    source: Labelled,
    target: Labelled,
    length: int,
    target_labels: int,
    config: AlignConfig,
    seed: int,
    *,
    controls: bool,
) -> StageResult:
    """The method's own row first, then those of its controls (none unless asked for)."""
    few = few_labels(target, target_labels, pair, seed)
    begun = time.process_time()
    found = align(source.segments, source.pairs, target.segments, config, target_anchor=few, seed=seed)
    cpu_s = time.process_time() - begun
    about: dict[str, Cell] = {
        "pair": str(pair),
        "seed": seed,
        "length": target.segments.observations.shape[1],
        "whole": length == WHOLE,
        "target_labels": target_labels,
    }
    rows: list[Row] = []
    accepted = planted = 0
    if controls:
        rows = [
            {**about, "method": name, **_figures(pair, other, target, few, seed)}
            for name, other in _controls(pair, source, target, found, config, seed).items()
        ]
        for name, plant, truth, labels in _plants(source, target, few, config):
            mirrored = align(plant.segments, plant.pairs, truth.segments, config, target_anchor=labels, seed=seed)
            planted, accepted = planted + 1, accepted + (mirrored.refused is None)
            rows.append({**about, "method": name, **_figures(pair, mirrored, truth, labels, seed)})
    accuracy, abstained = judged(str(pair), found, target, few, seed)
    row: Row = {**about, "method": METHOD, **_figures(pair, found, target, few, seed), "cpu_s": round(cpu_s, 3)}
    return StageResult(
        (row, *rows),
        {"label_accuracy": accuracy, "abstained": abstained},
        {"refused": (int(found.refused is not None), 1), "plants_accepted": (accepted, planted)},
    )


def few_labels(target: Labelled, count: int, pair: TaskPair, seed: int) -> PairLabels | None:
    """`count` random target pairs that are no ties, with their true labels; None for 0."""
    if not count:
        return None
    every = from_matrix(target.z)
    decided = every.subset(np.flatnonzero(every.decided))
    chosen = stream(seed, "target labels", str(pair)).permutation(len(decided))[:count]
    return decided.subset(chosen)


def judged(
    group: str, found: Alignment, target: Labelled, few: PairLabels | None, seed: int
) -> tuple[Estimate, Estimate]:
    """(accuracy over the pairs that got a label, share that abstained); given target labels are not judged."""
    open_pairs = ~np.eye(len(target.z), dtype=bool)
    if few is not None:
        i, j = few.pairs.T
        open_pairs[i, j] = open_pairs[j, i] = False
    episode = target.segments.episode_index
    accuracy = label_accuracy(group, found.z, target.z, open_pairs & ~found.abstained, episode, seed)
    return accuracy, share(
        group, (open_pairs & found.abstained).astype(np.float64), open_pairs.astype(np.float64), episode, seed
    )


def _figures(
    pair: TaskPair, found: Alignment, target: Labelled, few: PairLabels | None, seed: int
) -> dict[str, "Cell | Mapping[str, Cell]"]:
    accuracy, abstained = judged(str(pair), found, target, few, seed)
    everything, _ = judged(str(pair), replace(found, abstained=np.zeros_like(found.abstained)), target, few, seed)
    sign = found.sign
    return {
        "label_accuracy": metric_fields(accuracy.metric),
        "abstained": metric_fields(abstained.metric),
        "label_accuracy_had_it_not_abstained": metric_fields(everything.metric),
        "verdict": sign.verdict,
        "reason": sign.reason,
        "sign_agreement": _number(sign.agreement),
        "structure": _number(sign.structure),
        "cue": _number(sign.cue),
        "source_accuracy": _number(sign.source_accuracy),
        "fallbacks": found.fallbacks,
    }


def _controls(
    pair: TaskPair, source: Labelled, target: Labelled, found: Alignment, config: AlignConfig, seed: int
) -> dict[str, Alignment]:
    n = len(target.z)
    order = stream(seed, "random labels", str(pair)).permutation(n)
    plain = align(source.segments, source.pairs, target.segments, published(), seed=seed)
    free = align(source.segments, source.pairs, target.segments, replace(config, anchor=""), seed=seed)
    anchor = features(config.anchor, target.segments, config.layout) if config.anchor else np.zeros((n, 1))
    labels = {
        "anchor-alone": _unchecked(replace(found, z=_labels_by(found.utility))),
        "closeness-alone": _unchecked(replace(found, z=_labels_by(anchor[:, 0]))),
        "unanchored": _unchecked(free),
        "published": _unchecked(plain),
        "random": _unchecked(replace(found, z=_labels_by(order))),
        "flipped": replace(found, z=1.0 - found.z),
    }
    return {name: labels[name] for name in CONTROL_LABELS}


def _unchecked(found: Alignment) -> Alignment:
    """Labels as they come, without sign check and without abstaining."""
    sign = replace(found.sign, verdict="unchecked", reason="")
    return replace(found, abstained=np.zeros_like(found.abstained), sign=sign)


def _plants(
    source: Labelled, target: Labelled, few: PairLabels | None, config: AlignConfig
) -> list[tuple[str, Labelled, Labelled, PairLabels | None]]:
    """(name, source, target, target labels): each is the mirror of a task that is right."""
    moved = Labelled(mirrored_progress(target.segments, config.layout), target.z)
    plants = [
        ("mirrored-source", Labelled(source.segments, 1.0 - source.z), target, few),
        ("mirrored-progress", source, moved, few),
    ]
    if few is not None:
        plants.append(("mirrored-target", source, Labelled(target.segments, 1.0 - target.z), inverted(few)))
    return plants


def _labels_by(score: NDArray) -> F64:
    return 0.5 + 0.5 * np.sign(score[:, None] - score[None, :]).astype(np.float64)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
