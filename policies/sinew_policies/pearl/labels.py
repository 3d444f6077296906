"""Preference labels of pairs, sparse or complete, and their transfer through a coupling.

Convention: z[i, j] = 1 where i is preferred, 0 where j is, 0.5 for a tie; z[i, j] + z[j, i] = 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F64
from sinew_policies.pearl.preferences import check_labels

Bool = NDArray[np.bool_]
Index = NDArray[np.int64]

MISSING = ("bradley-terry", "borda", "renormalise")
_RIDGE = 0.1  # pulls the scores of segments with few labels to 0
_TIE = 1e-9


@dataclass(frozen=True)
class PairLabels:
    """K labelled pairs among segments numbered from 0; raises DataError for bad labels and pairs of one segment."""

    pairs: Index  # (K, 2)
    z: F64  # (K,) 1 = the pair's first is preferred

    def __post_init__(self) -> None:
        check_labels(self.pairs, self.z, None, "labels")

    def __len__(self) -> int:
        return len(self.z)

    @property
    def decided(self) -> Bool:
        """(K,) labels that are no tie."""
        return np.abs(self.z - 0.5) > _TIE

    def check_informative(self, where: str) -> None:
        """Raises DataError where every label is a tie."""
        if not self.decided.any():
            raise DataError(
                f"{where}: all {len(self)} labels are ties and prefer nothing; label pairs of which one is better"
            )

    def subset(self, kept: NDArray) -> "PairLabels":
        return PairLabels(self.pairs[kept], self.z[kept])


def from_matrix(z: F64, count: int | None = None, rng: np.random.Generator | None = None) -> PairLabels:
    """Every pair i < j of a complete label matrix (N, N), or `count` of them drawn at random."""
    first, second = np.triu_indices(len(z), k=1)
    if count is not None and rng is not None and count < len(first):
        chosen = rng.choice(len(first), count, replace=False)
        first, second = first[chosen], second[chosen]
    return PairLabels(np.stack([first, second], 1).astype(np.int64), z[first, second].astype(np.float64))


@dataclass(frozen=True)
class LabelMatrix:
    """Labels of all pairs of N segments. Where `known` is False no label may be used."""

    z: F64  # (N, N)
    known: Bool  # (N, N)


def complete(labels: PairLabels, n: int, missing: str = "bradley-terry") -> LabelMatrix:
    """The N×N matrix of sparse labels; pairs labelled more than once are averaged.

    `missing` says what becomes of pairs without a label: "bradley-terry" and "borda" fill them from scores fitted
    to the others; "renormalise" leaves them out, so that `transfer` weighs by labelled mass.

    Raises ConfigError for an unknown `missing`, DataError for tie-only labels or pairs outside the segments.
    """
    if missing not in MISSING:
        raise ConfigError(f"there is no way '{missing}' to treat missing labels; {name_hint(missing, MISSING)}")
    check_labels(labels.pairs, labels.z, n, "source labels")
    labels.check_informative("source labels")
    i, j = labels.pairs.T
    total, count = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(total, (i, j), labels.z)
    np.add.at(total, (j, i), 1.0 - labels.z)
    np.add.at(count, (i, j), 1.0)
    np.add.at(count, (j, i), 1.0)
    known = count > 0
    np.fill_diagonal(known, True)
    np.fill_diagonal(total, 0.5)
    np.fill_diagonal(count, 1.0)
    z = np.divide(total, count, out=np.full((n, n), 0.5), where=known)
    if missing == "renormalise":
        return LabelMatrix(z, known)
    score = bradley_terry(labels, n) if missing == "bradley-terry" else borda(labels, n)
    return LabelMatrix(np.where(known, z, expit(score[:, None] - score[None, :])), np.ones((n, n), bool))


def bradley_terry(labels: PairLabels, n: int, ridge: float = _RIDGE, max_iter: int = 100) -> F64:
    """Scores (N,), mean 0, of P[i preferred to j] = sigmoid(score_i - score_j), by Newton's method with ridge."""
    i, j = labels.pairs.T
    score = np.zeros(n)
    for _ in range(max_iter):
        p = expit(score[i] - score[j])
        gradient = ridge * score
        np.add.at(gradient, i, p - labels.z)
        np.add.at(gradient, j, labels.z - p)
        hessian = np.diag(np.full(n, ridge))
        w = p * (1.0 - p)
        for a, b, sign in ((i, i, 1.0), (j, j, 1.0), (i, j, -1.0), (j, i, -1.0)):
            np.add.at(hessian, (a, b), sign * w)
        step = np.linalg.solve(hessian, gradient)
        size = float(np.abs(step).max())
        score = score - step * min(1.0, 2.0 / max(size, 1e-12))  # far steps overshoot where p saturates
        if size < 1e-8:
            break
    return score - score.mean()


def borda(labels: PairLabels, n: int) -> F64:
    """Scores (N,) in -2..2: four times the mean label above a tie; 0 without labels."""
    i, j = labels.pairs.T
    total, count = np.zeros(n), np.zeros(n)
    np.add.at(total, i, labels.z - 0.5)
    np.add.at(total, j, 0.5 - labels.z)
    np.add.at(count, i, 1.0)
    np.add.at(count, j, 1.0)
    return 4.0 * total / np.maximum(count, 1.0)


def transfer(plan: F64, source: LabelMatrix) -> tuple[F64, F64]:
    """Labels of the targets of B plans (B, M, N) from labels of their sources, (M, M) or (B, M, M).

    Z_t = P^T Z_s P with P = plan / its column sums (the unnormalised product shrinks labels by the square of the
    target's weight), over known labels only. Returns (z (B, N, N), share of the mass that is labelled (B, N, N)).
    Where that share is 0, also for targets that the plan gives no mass, z is 0.5 and says nothing.
    """
    column = plan.sum(-2, keepdims=True)  # (B, 1, N)
    P = np.divide(plan, column, out=np.zeros_like(plan), where=column > 1e-12)
    weight = source.known.astype(np.float64)
    mass = np.swapaxes(P, -1, -2) @ weight @ P  # (B, N, N)
    z = np.swapaxes(P, -1, -2) @ (weight * source.z) @ P
    z = np.divide(z, mass, out=np.full_like(z, 0.5), where=mass > 1e-12)
    mass = np.where(mass > 1e-12, np.minimum(mass, 1.0), 0.0)
    n = plan.shape[-1]
    z[..., np.arange(n), np.arange(n)] = 0.5
    return 0.5 * (z + 1.0 - np.swapaxes(z, -1, -2)), mass  # rounding must not break z_ij + z_ji = 1
