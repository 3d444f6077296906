"""What gives a coupling its orientation: a utility over features that both tasks share.

Gromov-Wasserstein sees distances only, so the good end of one task may be coupled to the bad end of the other with
full conviction. The anchor is a linear utility over ranked features (progress; see `features`), whose weights come
from the source's labels alone and are never negative: the features are oriented so that more is better, and labels
decide how much each of them counts. What labels of one task say about the lesser features need not hold in another,
so a share of the weight stays on the first feature. Coupling cost is the squared difference of the utility's ranks.
A few target labels can sharpen the weights.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from sinew_policies.common.episodes import Index
from sinew_policies.common.types import F64
from sinew_policies.pearl.features import ranked
from sinew_policies.pearl.labels import PairLabels

_RIDGE = 1.0  # in units of one label
_FOLDS = 4


@dataclass(frozen=True)
class Anchor:
    weights: F64  # (F,) of ranked features, 0 or more
    heldout_accuracy: float  # on source pairs between trajectories that the weights were not learnt from; NaN: none

    def utility(self, features: F64) -> F64:
        """Ranks in -0.5..0.5 of N segments of one task by their weighted, ranked features (N, F). (N,)"""
        return ranked((ranked(features) @ self.weights)[:, None])[:, 0]


def learn(features: F64, labels: PairLabels, episode: Index, first: float, seed_rng: np.random.Generator) -> Anchor:
    """The anchor of source features (N, F) whose segments come from `episode` (N,), with the share `first` of the
    weight on the first feature whatever the labels say.

    Held-out accuracy is by trajectory: pairs of a fold's trajectories are judged by weights learnt without them.
    """
    x = ranked(features)
    decided = labels.subset(labels.decided)
    fold_of_episode = {int(e): k % _FOLDS for k, e in enumerate(seed_rng.permutation(np.unique(episode)))}
    fold = np.array([fold_of_episode[int(e)] for e in episode])[decided.pairs]  # (K, 2)
    right, judged = 0.0, 0
    for k in range(_FOLDS):
        inside, outside = (fold == k).all(1), (fold != k).all(1)
        if inside.any() and outside.any():
            part = decided.subset(inside)
            right += accuracy(x @ _kept(_fit(x, decided.subset(outside)), first), part) * len(part)
            judged += len(part)
    return Anchor(_kept(_fit(x, decided), first), right / judged if judged else float("nan"))


def sharpen(anchor: Anchor, features: F64, labels: PairLabels) -> Anchor:
    """Weights moved towards a few labels of the target with features (N, F), from the source's as prior."""
    decided = labels.subset(labels.decided)
    return Anchor(_fit(ranked(features), decided, prior=anchor.weights), anchor.heldout_accuracy)


def accuracy(score: F64, labels: PairLabels) -> float:
    """Share of decided labels that scores (N,) agree with, equal scores counting half; NaN without any."""
    kept = labels.decided
    i, j = labels.pairs[kept].T
    if not len(i):
        return float("nan")
    says = 0.5 * (np.sign(score[i] - score[j]) + 1.0)
    return float(np.where(says == 0.5, 0.5, says == (labels.z[kept] > 0.5)).mean())


def linear_cost(source_utility: F64, target_utility: F64, *, mirrored: bool = False) -> F64:
    """Cost of coupling by utility ranks (..., M) and (..., N), mean about 1: (..., M, N).

    `mirrored` couples the best source to the worst target: the hypothesis that a sign check has to rule out.
    """
    target = -target_utility if mirrored else target_utility
    return 6.0 * (source_utility[..., :, None] - target[..., None, :]) ** 2


def _kept(learnt: F64, first: float) -> F64:
    total = float(learnt.sum())
    prior = np.eye(len(learnt))[0] * (total if total > 0 else 1.0)
    return (1.0 - first) * learnt + first * prior


def _fit(x: F64, labels: PairLabels, prior: F64 | None = None) -> F64:
    """Ridge Bradley-Terry weights (F,) >= 0 around the prior."""
    i, j = labels.pairs.T
    difference, z = x[i] - x[j], labels.z
    centre = np.zeros(x.shape[1]) if prior is None else prior

    def objective(w: F64) -> tuple[float, F64]:
        a = difference @ w
        loss = float((np.logaddexp(0.0, a) - z * a).sum() + 0.5 * _RIDGE * ((w - centre) ** 2).sum())
        return loss, difference.T @ (expit(a) - z) + _RIDGE * (w - centre)

    start = centre if prior is not None else np.full(x.shape[1], 0.1)
    return minimize(objective, start, jac=True, bounds=[(0.0, None)] * x.shape[1], method="L-BFGS-B").x
