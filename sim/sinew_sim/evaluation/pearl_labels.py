"""Stage `labels`: how often transferred labels are right, where the method does not abstain.

Every pair is also given to controls: the method as published, random labels, the method's own labels flipped, and
two plants whose right answer is mirrored. A plant must never be accepted:
- mirrored-source: the source's labels are inverted, so its preferences contradict what its features show;
- mirrored-target: the target's preferences are inverted, which only target labels can tell.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sinew_policies.common.report import Cell, Row, metric_fields
from sinew_policies.common.seeds import stream
from sinew_policies.pearl.align import AlignConfig, Alignment, align, published
from sinew_policies.pearl.labels import PairLabels, from_matrix
from sinew_policies.pearl.orientation import ACCEPTED
from sinew_sim.evaluation.pearl_data import WHOLE, Labelled, TaskPair
from sinew_sim.evaluation.pearl_scores import Estimate, label_accuracy, share

METHOD = "cpa"


@dataclass(frozen=True)
class LabelResult:
    """One alignment of one pair, judged."""

    row: Row
    accuracy: Estimate
    abstained: Estimate
    planted_accepted: int  # of the mirrored plants
    planted: int


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
) -> tuple[LabelResult, tuple[Row, ...]]:
    """The method's own result, and the rows of its controls (none unless asked for)."""
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
            for name, other in _controls(pair, source, target, found, seed).items()
        ]
        for name, plant, truth, labels in _plants(source, target, few):
            mirrored = align(plant.segments, plant.pairs, truth.segments, config, target_anchor=labels, seed=seed)
            planted, accepted = planted + 1, accepted + (mirrored.sign.verdict == ACCEPTED)
            rows.append({**about, "method": name, **_figures(pair, mirrored, truth, labels, seed)})
    accuracy, abstained = judged(str(pair), found, target, few, seed)
    row: Row = {**about, "method": METHOD, **_figures(pair, found, target, few, seed), "cpu_s": round(cpu_s, 3)}
    return LabelResult(row, accuracy, abstained, accepted, planted), tuple(rows)


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
    pair: TaskPair, source: Labelled, target: Labelled, found: Alignment, seed: int
) -> dict[str, Alignment]:
    n = len(target.z)
    order = stream(seed, "random labels", str(pair)).permutation(n)
    plain = align(source.segments, source.pairs, target.segments, published(), seed=seed)
    none = np.zeros((n, n), bool)
    return {
        # Published CPA has no sign check: its labels are taken as they come.
        "published": replace(plain, abstained=none),
        "random": replace(found, z=0.5 + 0.5 * np.sign(order[:, None] - order[None, :]), abstained=none),
        "flipped": replace(found, z=1.0 - found.z),
    }


def _plants(
    source: Labelled, target: Labelled, few: PairLabels | None
) -> list[tuple[str, Labelled, Labelled, PairLabels | None]]:
    """(name, source, target, target labels): each is the mirror of a task that is right."""
    plants = [("mirrored-source", Labelled(source.segments, 1.0 - source.z), target, few)]
    if few is not None:
        inverted = PairLabels(few.pairs, 1.0 - few.z)
        plants.append(("mirrored-target", source, Labelled(target.segments, 1.0 - target.z), inverted))
    return plants


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
