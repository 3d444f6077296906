"""Support set of semantic expansion: training-goal embeddings, none too close to another, and their file."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from safetensors import safe_open
from safetensors.numpy import save

from sinew_policies.common.errors import ConfigError, DataError, escaped
from sinew_policies.common.types import F32
from sinew_policies.psl.goal_cache import F16
from sinew_policies.psl.goal_views import unit_vectors

COSINE_BOUND = 0.8

_FORMAT = "sinew PSL support set 1"
_CHUNK = 4096  # vectors compared at once


@dataclass(frozen=True)
class SupportSet:
    vectors: F16  # (V, D), of any length
    clip: str  # identity of the CLIP network that embedded them

    def __post_init__(self) -> None:
        v = self.vectors
        if v.ndim != 2 or 0 in v.shape or v.dtype != np.float16:
            raise DataError(f"a support set is {v.dtype} of shape {v.shape}; expected float16 (V, D)")
        if not np.isfinite(v).all():
            raise DataError("a support set holds NaN or infinite values; embed its pictures again")


def save_support_set(path: Path | str, support: SupportSet) -> None:
    """Writes a safetensors file; it appears whole or not at all."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    content = {"vectors": np.ascontiguousarray(support.vectors)}
    partial.write_bytes(save(content, {"format": _FORMAT, "clip": support.clip}))
    partial.replace(file)


def load_support_set(path: Path | str) -> SupportSet:
    """Raises DataError for a file that is missing, damaged or holds anything else."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"support set {file} does not exist; make it with build_support_set and save_support_set")
    try:
        with safe_open(file, "numpy") as content:
            note, names = content.metadata() or {}, list(content.keys())
            vectors = content.get_tensor("vectors") if names == ["vectors"] else None
    except Exception as fault:  # SafetensorError, or whatever numpy says of a type that it lacks
        raise DataError(f"{file} is not a whole safetensors file ({escaped(str(fault))}); make it again") from fault
    if vectors is None or note.get("format") != _FORMAT or "clip" not in note:
        raise DataError(f"{file} holds no support set of this version; make it with save_support_set")
    return SupportSet(vectors, note["clip"])


def build_support_set(
    embeddings: Iterable[ArrayLike], clip: str, *, cosine_bound: float = COSINE_BOUND, limit: int | None = None
) -> SupportSet:
    """Keeps, in the given order, each vector whose cosine to all kept before lies below the bound.

    `embeddings` yields chunks (n, D), so that what does not fit in memory can be read as it goes; `clip` is
    `Predictor.clip_identity` of the network that made them. Raises ConfigError for a bound outside -1..1 or a limit
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
        for start in range(0, len(raw), _CHUNK):
            part = raw[start : start + _CHUNK]
            unit = unit_vectors(part, "support embeddings").astype(np.float32)
            free = np.ones(len(unit), bool)
            for block in range(0, n, _CHUNK):
                free &= (unit @ directions[block : min(n, block + _CHUNK)].T).max(1) < cosine_bound
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
                return SupportSet(np.concatenate(kept), clip)
    if n == 0:
        raise DataError("the support set is empty: no embeddings were given")
    return SupportSet(np.concatenate(kept), clip)


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
