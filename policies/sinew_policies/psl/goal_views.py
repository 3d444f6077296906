"""Entropy-prioritised goal views: of the views rendered around a goal, keep those that clearly show one object.

A view is compared with C object prompts in CLIP's space: p = softmax_c(tau * cos(view, prompt_c)). The
normalised entropy H = -(1 / log C) * sum_c p_c log p_c lies in 0..1; a view of a wall is close to 1, a view of
one object close to 0. The k lowest of n candidates are kept per episode and one is drawn for each use (paper,
goal view selection; k = 4 of n = 10).

The temperature of the paper is unpublished; CLIP's own logit scale, 100, is the default.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64

CLIP_LOGIT_SCALE = 100.0
KEPT_VIEWS = 4
CANDIDATE_VIEWS = 10


def view_entropy(views: ArrayLike, prompts: ArrayLike, tau: float = CLIP_LOGIT_SCALE) -> F64:
    """Normalised entropy in 0..1 of each view.

    `views` (..., D) image embeddings and `prompts` (C, D) text embeddings, of any length; the result has the
    leading shape of `views`. Raises ConfigError for a tau below 0 or not finite, DataError for fewer than two
    prompts, different widths, or an embedding that is zero or not finite.
    """
    if not (tau >= 0.0 and math.isfinite(tau)):
        raise ConfigError(f"tau is {tau}; expected a finite number, 0 or more, such as CLIP's {CLIP_LOGIT_SCALE:g}")
    v, q = unit_vectors(views, "goal views"), unit_vectors(prompts, "prompts")
    if q.ndim != 2 or len(q) < 2:
        raise DataError(f"prompts have shape {q.shape}; expected (C, D) with at least 2 prompts to choose between")
    if v.shape[-1] != q.shape[-1]:
        raise DataError(
            f"views have width {v.shape[-1]}, prompts {q.shape[-1]}; embed both with the same CLIP network"
        )
    logits = tau * (v @ q.T)  # (..., C)
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    entropy: F64 = -(np.exp(log_p) * log_p).sum(-1) / math.log(len(q))
    return np.clip(entropy, 0.0, 1.0)


def select_views(entropy: ArrayLike, k: int = KEPT_VIEWS) -> NDArray[np.int64]:
    """Indices (..., k) of the k views of lowest entropy of each episode, lowest first; ties keep their order.

    `entropy` (..., n). Raises ConfigError unless 1 <= k <= n, DataError for values that are not finite.
    """
    h = np.asarray(entropy, np.float64)
    if h.ndim == 0 or not np.isfinite(h).all():
        raise DataError(f"entropies of shape {h.shape} must be finite numbers (..., n); check the embeddings")
    if not 1 <= k <= h.shape[-1]:
        raise ConfigError(f"k is {k}, but each episode has {h.shape[-1]} views; expected 1 to {h.shape[-1]}")
    return np.argsort(h, axis=-1, kind="stable")[..., :k]


def draw_view(selected: ArrayLike, episode_id: str | int, seed: int, visit: int = 0) -> int:
    """The view of an episode's selection (k,) that visit number `visit` of the episode uses.

    The same in every process and on every machine: the draw depends on the id's text, not on Python's hash.
    """
    choices = np.asarray(selected, np.int64)
    if choices.ndim != 1 or len(choices) == 0:
        raise DataError(
            f"selected views of episode {episode_id} have shape {choices.shape}; expected (k,) with k >= 1"
        )
    return int(stream(seed, "goal view", episode_id, visit).choice(choices))


def unit_vectors(vectors: ArrayLike, what: str) -> F64:
    """`vectors` (..., D) scaled to length one.

    Raises DataError naming `what` for a shape without a width and for vectors that are zero or not finite.
    """
    x = np.asarray(vectors, np.float64)
    if x.ndim == 0 or x.size == 0:
        raise DataError(f"{what} have shape {x.shape}; expected (..., D) with at least one vector")
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    if not np.isfinite(length).all() or bool((length == 0.0).any()):
        bad = int(np.argmax(~np.isfinite(length.ravel()) | (length.ravel() == 0.0)))
        raise DataError(f"{what}: vector {bad} is zero or not finite, so it has no direction; embed it again")
    return x / length
