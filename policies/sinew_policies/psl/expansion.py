"""Semantic expansion: a text goal becomes a mixture of image embeddings that the policy was trained with.

z_R = sum_i softmax_i(cos(z_T, v_i) / temperature) v_i over a support set v of training-goal embeddings, of which
only the k nearest may be kept. Temperature 0 gives the nearest vector, infinity the mean. The policy normalises
the result. The paper's temperature and k are unpublished: with temperature 1 over 1e5 vectors the weights are
nearly equal and z_R is close to the mean, hence 1/100 by default; tune both.
"""

import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F32
from sinew_policies.psl.goal_cache import F16, read_array
from sinew_policies.psl.goal_views import unit_vectors

COSINE_BOUND = 0.8
TEMPERATURE = 0.01
CHUNK = 4096  # support vectors compared at once


def build_support_set(
    embeddings: Iterable[ArrayLike], *, cosine_bound: float = COSINE_BOUND, limit: int | None = None
) -> F16:
    """Keeps, in the given order, each vector whose cosine to all kept before lies below the bound.

    `embeddings` yields chunks (n, D), so that what does not fit in memory can be read as it goes. Returns
    float16 (V, D), the kept vectors in their own length. Raises ConfigError for a bound outside -1..1 or a limit
    below 1, DataError for chunks of different widths and for vectors without a direction.
    """
    if not -1.0 < cosine_bound <= 1.0:
        raise ConfigError(
            f"cosine_bound is {cosine_bound}; expected above -1 and at most 1, such as {COSINE_BOUND}"
        )
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; expected at least 1 vector")
    kept: list[F16] = []
    n, directions = 0, np.zeros((0, 0), np.float32)  # (capacity, D) directions of the kept
    for chunk in embeddings:
        raw = np.asarray(chunk)
        if raw.ndim != 2:
            raise DataError(f"a chunk of embeddings has shape {raw.shape}; expected (n, D)")
        if directions.shape[1] not in (0, raw.shape[1]):
            raise DataError(
                f"embeddings of width {raw.shape[1]} after width {directions.shape[1]}; embed all alike"
            )
        for start in range(0, len(raw), CHUNK):
            part = raw[start : start + CHUNK]
            unit = unit_vectors(part, "support embeddings").astype(np.float32)
            free = np.ones(len(unit), bool)
            for block in range(0, n, CHUNK):
                free &= (unit @ directions[block : min(n, block + CHUNK)].T).max(1) < cosine_bound
            candidates = np.flatnonzero(free)
            chosen = _greedy(unit[candidates], cosine_bound, None if limit is None else limit - n)
            new = candidates[chosen]
            if n + len(new) > len(directions):
                grown = np.empty((max(n + len(new), 2 * len(directions)), raw.shape[1]), np.float32)
                if n:
                    grown[:n] = directions[:n]
                directions = grown
            directions[n : n + len(new)] = unit[new]
            kept.append(part[new].astype(np.float16))
            n += len(new)
            if n == limit:
                return np.concatenate(kept)
    if n == 0:
        raise DataError("the support set is empty: no embeddings were given")
    return np.concatenate(kept)


def expand(
    text: ArrayLike,
    support: NDArray[np.floating],
    *,
    temperature: float = TEMPERATURE,
    k: int | None = None,
    chunk: int = CHUNK,
) -> F32:
    """Mixtures (Q, D) of the support set (V, D) for text embeddings (Q, D); not normalised.

    Reads the support set twice in chunks, so a memory-mapped float16 file of 1e5 x 1024 costs a few MB.
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


def save_support_set(path: Path, support: F16) -> None:
    """Writes a .npy file that `load_support_set` maps; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        np.save(file, support, allow_pickle=False)
    partial.replace(path)


def load_support_set(path: Path) -> NDArray[np.floating]:
    """(V, D), mapped from disk. Raises DataError for a missing, damaged or mis-shaped file."""
    support = read_array(path, mapped=True)
    if support.ndim != 2 or 0 in support.shape:
        raise DataError(f"{path} has shape {support.shape}; expected a support set (V, D)")
    return support


def _greedy(unit: F32, bound: float, limit: int | None) -> list[int]:
    """Indices kept in order, each below the bound to all kept before it."""
    chosen: list[int] = []
    nearest = np.full(len(unit), -np.inf, np.float32)  # cosine to the nearest chosen
    for i in range(len(unit)):
        if limit is not None and len(chosen) == limit:
            break
        if nearest[i] < bound:
            chosen.append(i)
            np.maximum(nearest[i + 1 :], unit[i + 1 :] @ unit[i], out=nearest[i + 1 :])
    return chosen


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
