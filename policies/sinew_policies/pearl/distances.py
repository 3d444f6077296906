"""Distances of all segments of a task, computed once; subsets are blocks of that matrix."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist, squareform

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64, I32


@dataclass(frozen=True)
class DistanceMatrix:
    """Euclidean distances divided by their mean, so that tasks of other units and sizes are comparable."""

    values: F64  # (N, N) symmetric, zero diagonal, mean 1 off the diagonal

    def block(self, index: I32) -> F64:
        """Distances within subsets: index (..., M) to (..., M, M)."""
        return self.values[index[..., :, None], index[..., None, :]]


def pairwise(features: F64) -> DistanceMatrix:
    """Distances of N feature vectors (N, F).

    Raises DataError for fewer than two vectors, numbers that are not finite, or vectors that are all the same.
    """
    if features.ndim != 2 or len(features) < 2:
        raise DataError(f"features have shape {features.shape}; expected at least two rows of numbers")
    condensed = pdist(np.asarray(features, np.float64))
    mean = float(condensed.mean())
    if not np.isfinite(mean):
        raise DataError("distances of the segments are not finite; drop the segments that hold NaN or infinity")
    if mean <= 0.0:
        raise DataError(
            f"all {len(features)} segments have the same features: no distance tells them apart; take another "
            "feature map or other segments"
        )
    return DistanceMatrix(squareform(condensed / mean))
