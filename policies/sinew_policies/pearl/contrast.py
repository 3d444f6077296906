"""K-means contrast (PEARL, arXiv 2306.03615): segments in clusters, labels for pairs from different clusters only.

Pairs of one cluster look alike, and their labels carry little but noise. How the paper draws its M segments from
the clusters is not known to us; here each cluster gives as equal a share of M as its size allows.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.types import F64, I32

_STARTS = 4


def clusters(features: F64, k: int, rng: np.random.Generator) -> I32:
    """Cluster 0..k-1 of each of N vectors (N, F): the best of a few k-means++ starts. (N,)

    Raises ConfigError for k outside 1..N.
    """
    if not 1 <= k <= len(features):
        raise ConfigError(f"{k} clusters of {len(features)} segments; expected 1 to {len(features)}")
    scale = features.std(0)
    x = (features - features.mean(0)) / np.where(scale > 0, scale, 1.0)
    best, best_cost = np.zeros(len(x), np.int32), np.inf
    for _ in range(_STARTS):
        centres, of = kmeans2(x, k, minit="++", rng=rng)
        cost = float(((x - centres[of]) ** 2).sum())
        if cost < best_cost:
            best, best_cost = of.astype(np.int32), cost
    return best


def draw(cluster: I32, m: int, rng: np.random.Generator) -> I32:
    """M of N segments without repetition, the clusters in equal shares as far as they have members. (M,)

    Raises ConfigError for m outside 2..N.
    """
    if not 2 <= m <= len(cluster):
        raise ConfigError(f"a subset of {m} of {len(cluster)} segments; expected 2 to {len(cluster)}")
    order = rng.permutation(len(cluster))
    turn = np.empty(len(cluster), np.int64)  # a segment's place in its own cluster's queue
    for c in np.unique(cluster):
        members = order[cluster[order] == c]
        turn[members] = np.arange(len(members))
    return np.argsort(turn + rng.random(len(cluster)) * 0.5, kind="stable")[:m].astype(np.int32)


def crossing(cluster: I32) -> NDArray[np.bool_]:
    """Pairs from different clusters: (..., M) to (..., M, M)."""
    return cluster[..., :, None] != cluster[..., None, :]
