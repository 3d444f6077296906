"""Semantic expansion: a text goal becomes a mixture of image embeddings that the policy was trained with.

z_R = sum_i softmax_i(cos(z_T, v_i) / temperature) v_i over a support set v of training-goal embeddings, of which
only the k nearest may be kept. Temperature 0 gives the nearest vector, infinity the mean. The policy normalises
the result. The paper's temperature and k are unpublished: with temperature 1 over 1e5 vectors the weights are
nearly equal and z_R is close to the mean, hence 1/100 by default; tune both.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F32
from sinew_policies.psl.goal_views import unit_vectors

TEMPERATURE = 0.01
CHUNK = 4096  # support vectors compared at once


def expand(
    text: ArrayLike,
    support: NDArray[np.floating],
    *,
    temperature: float = TEMPERATURE,
    k: int | None = None,
    chunk: int = CHUNK,
) -> F32:
    """Mixtures (Q, D) of the support set (V, D) for text embeddings (Q, D); not normalised.

    Reads the support set twice in chunks: beside float16 vectors of 1e5 x 1024 it needs a few MB.
    Raises ConfigError for a negative temperature, or k outside 1..V; DataError for widths that differ and for
    vectors that are zero or not finite.
    """
    if math.isnan(temperature) or temperature < 0.0:
        raise ConfigError(f"temperature is {temperature}; expected 0 (nearest) or more, such as {TEMPERATURE}")
    if support.ndim != 2 or len(support) == 0:
        raise DataError(f"the support set has shape {support.shape}; expected (V, D) with at least one vector")
    if k is not None and not 1 <= k <= len(support):
        raise ConfigError(f"k is {k}, but the support set has {len(support)} vectors; expected 1 to {len(support)}")
    if chunk < 1:
        raise ConfigError(f"chunk is {chunk}; expected at least 1")
    queries = unit_vectors(text, "text embeddings").astype(np.float32)
    if queries.ndim != 2 or queries.shape[1] != support.shape[1]:
        raise DataError(
            f"text embeddings have shape {queries.shape}, the support set {support.shape}; expected (Q, D) and "
            "(V, D) of one CLIP network"
        )
    starts = range(0, len(support), chunk)
    cosine = np.empty((len(queries), len(support)), np.float32)  # (Q, V)
    for s in starts:
        cosine[:, s : s + chunk] = (
            queries @ unit_vectors(support[s : s + chunk], "support set").astype(np.float32).T
        )
    weights = _weights(cosine, temperature, k)
    mixed = np.zeros((len(queries), support.shape[1]), np.float64)
    for s in starts:
        part = weights[:, s : s + chunk]
        used = part.any(0)
        if used.any():
            mixed += part[:, used] @ support[s : s + chunk][used].astype(np.float64)
    return mixed.astype(np.float32)


def _weights(cosine: F32, temperature: float, k: int | None) -> NDArray[np.float64]:
    """Softmax weights (Q, V) over each query's k nearest; ties at the border keep the first."""
    n = cosine.shape[1]
    if temperature == 0.0:
        k = 1
    allowed = np.ones(cosine.shape, bool)
    if k is not None and k < n:
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        allowed = np.zeros(cosine.shape, bool)
        np.put_along_axis(allowed, order, True, axis=1)
    scale = 0.0 if math.isinf(temperature) else 1.0 / max(temperature, 1e-12)
    best = cosine.max(1, keepdims=True).astype(np.float64)
    weights: NDArray[np.float64] = np.exp(scale * (cosine - best)) * allowed
    return weights / weights.sum(1, keepdims=True)
