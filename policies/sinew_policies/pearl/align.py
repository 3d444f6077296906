"""CPA, cross-task preference alignment (PEARL, arXiv 2306.03615): labels of one task become labels of another.

Many random subsets of source and target segments are coupled by fused Gromov-Wasserstein, each carries the
source's labels over, and their votes are counted. Beyond the published method: the anchor that gives couplings an
orientation, the sign check that refuses, and confidence from the subsets' agreement.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sinew_policies.common.episodes import Segmented
from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64, I32
from sinew_policies.pearl import anchor as anchors
from sinew_policies.pearl.confidence import Votes, tally
from sinew_policies.pearl.contrast import clusters, crossing, draw
from sinew_policies.pearl.coupling import CouplingConfig, Couplings, Problems, couple
from sinew_policies.pearl.distances import pairwise
from sinew_policies.pearl.features import MAPS, METAWORLD, ObservationLayout, features
from sinew_policies.pearl.labels import MISSING, LabelMatrix, PairLabels, complete, transfer
from sinew_policies.pearl.orientation import REFUSED, SignCheck, SignConfig, judge

Bool = NDArray[np.bool_]
_MOST = 0.7  # share of a set that a subset may hold
_CUE_ACCURACY = 0.6  # from which smooth actions count as a cue of the source's preferences


@dataclass(frozen=True)
class AlignConfig:
    """`structure` is the feature map whose distances are coupled, `anchor` the map of the utility that orients the
    coupling; "" leaves the coupling unanchored. PEARL as published, as far as it is known: `published()`."""

    structure: str = "relative"
    anchor: str = "progress"
    anchor_first: float = 0.5  # share of the anchor's weight on its first feature; the rest is learnt
    layout: ObservationLayout = METAWORLD
    subset: int = 48  # M, segments of each task in a coupling; at most 0.7 of the smaller set is drawn
    draws: int = 48  # subsets that vote
    contrast: bool = False  # K-means: labels cross clusters only
    clusters: int = 2  # K
    missing: str = "bradley-terry"  # pairs without a source label, see labels.complete
    min_vote_agreement: float = 0.7  # of the subsets, below which a pair of segments is left out
    sharpen: bool = True  # let target labels move the anchor's weights
    coupling: CouplingConfig = field(default_factory=CouplingConfig)
    sign: SignConfig = field(default_factory=SignConfig)

    def __post_init__(self) -> None:
        if self.structure not in MAPS:
            raise ConfigError(f"there is no feature map '{self.structure}'; {name_hint(self.structure, MAPS)}")
        if self.anchor and self.anchor not in MAPS:
            raise ConfigError(f"there is no feature map '{self.anchor}'; {name_hint(self.anchor, MAPS)}")
        if self.missing not in MISSING:
            raise ConfigError(f"missing labels: there is no '{self.missing}'; {name_hint(self.missing, MISSING)}")
        if self.subset < 2 or self.draws < 1 or self.clusters < 1:
            raise ConfigError(
                f"align: subset {self.subset}, draws {self.draws}, clusters {self.clusters}; expected 2, 1, 1 up"
            )
        if not 0.0 <= self.anchor_first <= 1.0:
            raise ConfigError(f"align: anchor_first is {self.anchor_first}; expected 0 to 1")
        if not 0.5 <= self.min_vote_agreement <= 1.0:
            raise ConfigError(f"align: min_vote_agreement is {self.min_vote_agreement}; expected 0.5 to 1")


def published(subset: int = 4, draws: int = 48) -> AlignConfig:
    """The method without what we added: raw distances, tiny subsets, K-means contrast, no anchor."""
    return AlignConfig(
        structure="raw", anchor="", subset=subset, draws=draws, contrast=True, min_vote_agreement=0.5
    )


@dataclass(frozen=True)
class Alignment:
    source: str
    target: str
    z: F64  # (N, N) soft labels of the target; z_ij + z_ji = 1
    abstained: Bool  # (N, N) pairs that this method does not label; all of them where the source is refused
    confidence: F64  # (N, N) 0.5..1, agreement of the subsets
    utility: F64  # (N,) the anchor's own ranking, -0.5..0.5; zeros without an anchor
    sign: SignCheck
    solver: str
    energy: float  # mean over subsets
    fallbacks: int  # couplings that were broken and solved again

    @property
    def refused(self) -> str | None:
        """Why no label may be used, None where they may."""
        return self.sign.reason if self.sign.verdict == REFUSED else None

    @property
    def coverage(self) -> float:
        """Share of pairs that get a label."""
        n = len(self.z)
        return 1.0 - float(self.abstained[~np.eye(n, dtype=bool)].mean())


def align(
    source: Segmented,
    source_labels: PairLabels,
    target: Segmented,
    config: AlignConfig,
    *,
    target_anchor: PairLabels | None = None,
    seed: int = 0,
) -> Alignment:
    """Labels for every pair of target segments.

    `target_anchor`: a few target labels. They check the sign, then sharpen the anchor.

    Raises DataError: different action spaces, tie-only labels, labels outside the segments, features that are not
    finite or all equal, observations that do not have the layout.
    """
    _check(source, source_labels, target, target_anchor)
    rng = stream(seed, "align", source.task, target.task)
    run = _Run(source, source_labels, target, config, rng)
    votes = run.vote(run.anchor)
    agreement, decided = float("nan"), 0
    if target_anchor is not None:
        decided = int(target_anchor.decided.sum())
        agreement = anchors.accuracy(_standing(votes), target_anchor)
    sign = judge(
        config.sign,
        labels=decided,
        agreement=agreement,
        structure=run.structure_evidence(),
        cue=run.cue(),
        source_accuracy=run.anchor.heldout_accuracy if run.anchor else float("nan"),
    )
    anchor = run.anchor
    if target_anchor is not None and decided and sign.verdict != REFUSED and anchor and config.sharpen:
        anchor = anchors.sharpen(anchor, run.target_anchor_features, target_anchor)
        votes = run.vote(anchor)
    standing = _standing(votes)
    n = len(target)
    abstained = (votes.agreement < config.min_vote_agreement) | (votes.count == 0)
    if sign.verdict == REFUSED:
        abstained = np.ones((n, n), bool)
    return Alignment(
        source=source.task,
        target=target.task,
        # Mean votes are noisy where few subsets held both; each segment's mean standing uses all of its votes.
        z=0.5 + 0.5 * (standing[:, None] - standing[None, :]),
        abstained=abstained,
        confidence=votes.agreement,
        utility=anchor.utility(run.target_anchor_features) if anchor else np.zeros(n),
        sign=sign,
        solver=run.solver,
        energy=float(np.mean(run.energies)),
        fallbacks=run.fallbacks,
    )


def _check(
    source: Segmented, source_labels: PairLabels, target: Segmented, target_anchor: PairLabels | None
) -> None:
    a, b = source.actions.shape[2], target.actions.shape[2]
    if a != b:
        raise DataError(
            f"source '{source.task}' has {a} action numbers, target '{target.task}' has {b}; alignment needs one "
            "action space: take a source recorded with the same robot"
        )
    source_labels.check_informative(f"source '{source.task}'")
    for task, labels, n in (
        (source.task, source_labels, len(source)),
        (target.task, target_anchor, len(target)),
    ):
        if labels is not None and (len(labels) == 0 or labels.pairs.max() >= n):
            raise DataError(
                f"labels of '{task}' name segment {labels.pairs.max()}; expected 0 to {n - 1}; give the segments "
                "that were labelled"
            )


def _standing(votes: Votes) -> F64:
    """Mean vote of each segment against all others (Borda), 0..1. (N,)"""
    return (votes.z * votes.count).sum(1) / np.maximum(votes.count.sum(1), 1.0)


class _Run:
    """One alignment: distances, features and subsets, computed once."""

    def __init__(
        self,
        source: Segmented,
        source_labels: PairLabels,
        target: Segmented,
        config: AlignConfig,
        rng: np.random.Generator,
    ) -> None:
        self.config = config
        self.seed = int(rng.integers(2**31))
        self.labels = complete(source_labels, len(source), config.missing)
        source_features = features(config.structure, source, config.layout)
        target_features = features(config.structure, target, config.layout)
        self.source_distances = pairwise(source_features)
        self.target_distances = pairwise(target_features)
        self.source_clusters = self._clusters(source_features, rng)
        self.target_clusters = self._clusters(target_features, rng)
        # Subsets that hold nearly everything agree because they are the same, not because they are right.
        m = min(config.subset, max(2, int(_MOST * min(len(source), len(target)))))
        self.source_index = self._draws(self.source_clusters, m, rng)
        self.target_index = self._draws(self.target_clusters, m, rng)
        self.anchor: anchors.Anchor | None = None
        if config.anchor:
            self.source_anchor_features = features(config.anchor, source, config.layout)
            self.target_anchor_features = features(config.anchor, target, config.layout)
            self.anchor = anchors.learn(
                self.source_anchor_features, source_labels, source.episode_index, config.anchor_first, rng
            )
            self.target_smoothness = features("smoothness", target)
            self.smooth = anchors.learn(
                features("smoothness", source), source_labels, source.episode_index, config.anchor_first, rng
            )
        self.solver = ""
        self.energies: F64 = np.zeros(0)
        self.fallbacks = 0

    def vote(self, anchor: anchors.Anchor | None) -> Votes:
        found = self._couple(anchor)
        self.solver, self.energies = found.solver, found.energies
        self.fallbacks += len(found.fallbacks)
        i, j = self.source_index, self.target_index
        block = LabelMatrix(
            self.labels.z[i[:, :, None], i[:, None, :]], self.labels.known[i[:, :, None], i[:, None, :]]
        )
        z, mass = transfer(found.plans, block)
        counted = mass > 0
        counted[:, np.arange(z.shape[1]), np.arange(z.shape[1])] = False
        if self.config.contrast:
            counted &= crossing(self.target_clusters[j])
        return tally(len(self.target_distances.values), j, z, counted)

    def structure_evidence(self) -> float:
        """(mirrored energy - energy) / (mirrored energy + energy), of the last vote; NaN without an anchor."""
        if self.anchor is None:
            return float("nan")
        straight, mirrored = self.energies, self._couple(self.anchor, mirrored=True).energies
        total = float((straight + mirrored).sum())
        return float((mirrored - straight).sum()) / total if total > 0 else 0.0

    def cue(self) -> float:
        """Rank correlation of smoothness with the anchor in the target; NaN where it is no cue in the source."""
        if self.anchor is None or not self.smooth.heldout_accuracy >= _CUE_ACCURACY:
            return float("nan")
        progress = self.anchor.utility(self.target_anchor_features)
        smooth = self.smooth.utility(self.target_smoothness)
        if np.ptp(progress) == 0 or np.ptp(smooth) == 0:
            return float("nan")
        return float(spearmanr(progress, smooth).statistic)

    def _couple(self, anchor: anchors.Anchor | None, *, mirrored: bool = False) -> Couplings:
        linear = None
        if anchor is not None:
            # Source ranks by the source's own weights: target labels sharpen the target's side only.
            assert self.anchor is not None
            linear = anchors.linear_cost(
                self.anchor.utility(self.source_anchor_features)[self.source_index],
                anchor.utility(self.target_anchor_features)[self.target_index],
                mirrored=mirrored,
            )
        problems = Problems(
            self.source_distances.block(self.source_index), self.target_distances.block(self.target_index), linear
        )
        return couple(problems, self.config.coupling, self.seed)

    def _clusters(self, x: F64, rng: np.random.Generator) -> I32:
        if not self.config.contrast:
            return np.zeros(len(x), np.int32)
        return clusters(x, min(self.config.clusters, len(x)), rng)

    def _draws(self, cluster: I32, m: int, rng: np.random.Generator) -> I32:
        return np.stack([draw(cluster, m, rng) for _ in range(self.config.draws)])
