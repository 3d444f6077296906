"""How far resampled subsets agree on a label. A coupling's own |z - 0.5| is no confidence: a permutation is
certain of everything, also where it is wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F64, I32
from sinew_policies.pearl.labels import PairLabels


@dataclass(frozen=True)
class Votes:
    """Votes of many subsets on the pairs of N segments."""

    z: F64  # (N, N) mean vote, 0.5 without any
    agreement: F64  # (N, N) share of the votes on the majority's side, 0.5..1; ties split; 0.5 without votes
    count: F64  # (N, N)


def tally(n: int, index: I32, z: F64, counted: NDArray[np.bool_]) -> Votes:
    """Votes of B subsets: index (B, M) of their segments, z (B, M, M), and which of those pairs to count."""
    rows = np.broadcast_to(index[:, :, None], z.shape)[counted]
    columns = np.broadcast_to(index[:, None, :], z.shape)[counted]
    total, side, count = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    vote = z[counted]
    np.add.at(total, (rows, columns), vote)
    np.add.at(side, (rows, columns), np.sign(vote - 0.5))
    np.add.at(count, (rows, columns), 1.0)
    some = count > 0
    mean = np.divide(total, count, out=np.full((n, n), 0.5), where=some)
    lean = np.divide(side, count, out=np.zeros((n, n)), where=some)
    np.fill_diagonal(mean, 0.5)
    return Votes(mean, 0.5 + 0.5 * np.abs(lean), count)


def confident(labels: PairLabels, least: float, where: str) -> PairLabels:
    """Of transferred labels those with |2z - 1| of at least `least` (0..1), taken as certain (0 or 1).

    Such labels are soft because subsets differ, not because a pair is near a tie: a reward should not learn the
    softness. Few and sure labels made better policies from scarce data, all of them better rewards from graded data
    (docs/benchmarks.md). Raises ConfigError for another `least`, DataError where no label is left.
    """
    if not 0.0 <= least <= 1.0:
        raise ConfigError(f"least_confidence is {least:g}; expected 0 (all labels) to 1 (none but the certain)")
    confidence = np.abs(2.0 * labels.z - 1.0)
    kept = confidence >= max(least, 1e-9)
    if not kept.any():
        raise DataError(
            f"{where}: the most certain of {len(labels)} transferred labels has confidence {confidence.max():.2f}, "
            f"expected at least {least:g}; lower least_confidence, or take another source"
        )
    return PairLabels(labels.pairs[kept], (labels.z[kept] > 0.5).astype(np.float64))
