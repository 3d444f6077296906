"""Which of several labelled source tasks should lend its labels to a target, with the right to refuse all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sinew_policies.common.episodes import Segmented
from sinew_policies.common.errors import DataError
from sinew_policies.pearl.align import AlignConfig, Alignment, align
from sinew_policies.pearl.labels import PairLabels
from sinew_policies.pearl.orientation import ACCEPTED


@dataclass(frozen=True)
class Source:
    segments: Segmented
    labels: PairLabels


@dataclass(frozen=True)
class Ranked:
    """One source's chances: either aligned, or refused for `reason`."""

    task: str
    alignment: Alignment | None  # None where it could not even be aligned
    score: float  # larger is better; -inf where refused
    reason: str  # of the refusal; "" for a usable source


def rank(
    sources: Sequence[Source],
    target: Segmented,
    config: AlignConfig,
    *,
    target_anchor: PairLabels | None = None,
    seed: int = 0,
) -> tuple[Ranked, ...]:
    """Sources, best first; refused ones follow. Sources whose action space, layout or labels do not fit are refused
    with the reason, not raised.

    Score: accepted before provisional; then the mean of label-free evidence, the anchor's accuracy on the source
    and the subsets' agreement, together with the agreement of target labels where there are some.
    """
    found = []
    for source in sources:
        try:
            alignment = align(
                source.segments, source.labels, target, config, target_anchor=target_anchor, seed=seed
            )
        except DataError as fault:
            found.append(Ranked(source.segments.task, None, -np.inf, str(fault)))
            continue
        if alignment.refused is not None:
            found.append(Ranked(source.segments.task, alignment, -np.inf, alignment.refused))
        else:
            found.append(Ranked(source.segments.task, alignment, _score(alignment), ""))
    return tuple(sorted(found, key=lambda r: -r.score))


def best(ranked: Sequence[Ranked]) -> Alignment | None:
    """The first source's alignment, None where all are refused."""
    return ranked[0].alignment if ranked and ranked[0].score > -np.inf else None


def _score(alignment: Alignment) -> float:
    sign = alignment.sign
    off_diagonal = ~np.eye(len(alignment.z), dtype=bool)
    measured = [
        0.5 + 0.5 * sign.evidence,
        sign.source_accuracy,
        float(alignment.confidence[off_diagonal].mean()),
    ]
    if sign.labels:
        # A few labels are noisy: they weigh as much as their number allows against the three indirect measures.
        measured += [sign.agreement] * (1 + sign.labels // 10)
    return float(np.nanmean(measured)) + (1.0 if sign.verdict == ACCEPTED else 0.0)
