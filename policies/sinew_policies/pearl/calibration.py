"""How far predicted probabilities can be believed: expected calibration error and temperature scaling."""

import math

import numpy as np
from scipy.optimize import minimize_scalar

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64

_TEMPERATURES = (1e-2, 1e3)


def expected_calibration_error(probability: F64, z: F64, bins: int = 10) -> float:
    """Mean |predicted - observed| over equal bins of P[a preferred] (K,) against labels z (K,), weighted by the
    pairs in each bin. Each pair counts in both orders, so that the result does not depend on which came first.
    """
    _check(probability, z)
    p, y = np.concatenate([probability, 1.0 - probability]), np.concatenate([z, 1.0 - z])
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    gap = np.abs(np.bincount(place, p, bins) - np.bincount(place, y, bins))
    return float(gap.sum() / len(p))


def fit_temperature(logits: F64, z: F64) -> float:
    """The t > 0 with which sigmoid(logits / t) has the least cross-entropy to z; all (K,)."""
    _check(logits, z)

    def loss(log_t: float) -> float:
        x = logits * math.exp(-log_t)
        return float(np.mean(np.logaddexp(0.0, x) - z * x))

    low, high = (math.log(t) for t in _TEMPERATURES)
    return math.exp(float(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def _check(values: F64, z: F64) -> None:
    if values.shape != z.shape or values.ndim != 1 or len(z) == 0:
        raise DataError(f"predictions {values.shape} and labels {z.shape}: expected two vectors of one length > 0")
    if not (np.isfinite(values).all() and np.isfinite(z).all()):
        raise DataError("predictions or labels hold NaN or infinite values; the reward model diverged")
