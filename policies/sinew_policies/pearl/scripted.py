"""Scripted preferences: who was done for longer wins, the return decides between equals.

Return alone misleads: on Meta-World's Button Press the noisy expert, which always succeeds, collects less of it
than experts of other tasks that mostly fail.
"""

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64


def preference(
    success_steps: NDArray[np.integer], returns: NDArray[np.floating], return_margin: float = 0.0
) -> F64:
    """z (N, N): 1 where row i is preferred to column j, 0 where j is, 0.5 for a tie; z + zᵀ = 1.

    `success_steps` (N,) counts the steps at which the task was done, `returns` (N,) sums the rewards; returns that
    differ by no more than `return_margin` tie.
    Raises DataError for vectors of different lengths or returns that are not finite.
    """
    if success_steps.ndim != 1 or success_steps.shape != returns.shape or not len(returns):
        raise DataError(
            f"success_steps has shape {success_steps.shape}, returns {returns.shape}; expected two vectors of one "
            "length, not empty"
        )
    if not np.isfinite(returns).all():
        raise DataError("returns are not finite; drop those episodes")
    longer = success_steps[:, None].astype(np.float64) - success_steps[None, :]  # (N, N)
    higher = returns[:, None].astype(np.float64) - returns[None, :]
    higher[np.abs(higher) <= return_margin] = 0.0
    return 0.5 + 0.5 * np.sign(np.where(longer != 0, longer, higher))
