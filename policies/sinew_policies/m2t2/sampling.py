"""Choosing the points that the network sees.

Most of a tabletop cloud is table. The budget goes to what stands on it: table points get at most a
fixed share.
"""

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.types import F32

TABLE_HEIGHT_M = 0.006
"""Points below this height over z = 0 count as table; about two standard deviations of depth noise."""

TABLE_SHARE = 0.2


def choose_points(
    xyz: F32, n: int, rng: np.random.Generator, *, table_share: float | None = TABLE_SHARE
) -> NDArray[np.int64]:
    """Indices (n,) of points of `xyz` (N, 3), base_link metres, in random order.

    At most `table_share` of them are table points unless too few others exist; None draws uniformly.
    Clouds of fewer than n points repeat some. `xyz` must not be empty.
    """
    if table_share is None:
        return _draw(np.arange(len(xyz)), n, rng)
    is_table = xyz[:, 2] < TABLE_HEIGHT_M
    table, rest = np.flatnonzero(is_table), np.flatnonzero(~is_table)
    n_table = min(len(table), round(table_share * n))
    n_rest = min(len(rest), n - n_table)
    n_table = min(len(table), n - n_rest)
    chosen = np.concatenate([_draw(table, n_table, rng), _draw(rest, n_rest, rng)])
    return _draw(chosen, n, rng)


def _draw(candidates: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n of the candidates without repetition as far as they reach, then again from the start."""
    if n == 0:
        return np.zeros(0, np.int64)
    if n < len(candidates):
        return rng.choice(candidates, n, replace=False, shuffle=True)
    order = rng.permutation(candidates)
    return np.resize(order, n)
