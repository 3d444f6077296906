"""How well a reward orders pairs that it was not trained on, and how far its probabilities can be believed."""

from dataclasses import dataclass

import numpy as np

from sinew_policies.common.episodes import Index
from sinew_policies.common.report import Metric, rate
from sinew_policies.common.types import F64
from sinew_policies.pearl.calibration import expected_calibration_error
from sinew_policies.pearl.reward import RewardModel

TIE_BAND = 1e-6  # |z - 0.5| up to which a label is a tie


@dataclass(frozen=True)
class RewardScores:
    """On pairs of episodes that neither trained nor stopped the model; NaN without such pairs."""

    pair_accuracy: Metric  # untied pairs in the right order
    cross_entropy: float  # nats, with the fitted temperature
    calibration_error: float
    calibration_error_raw: float  # before the temperature


def judge(model: RewardModel, score: F64, pairs: Index, z: F64) -> RewardScores:
    """Scores of a model whose segment scores are `score` (N,) on pairs (K, 2) with labels z (K,)."""
    if len(z) == 0:
        return RewardScores(rate(0, 0), float("nan"), float("nan"), float("nan"))
    logits = score[pairs[:, 0]] - score[pairs[:, 1]]
    t = float(model.network.temperature)
    return RewardScores(
        pair_accuracy(score, pairs, z),
        cross_entropy(logits / t, z),
        expected_calibration_error(_sigmoid(logits / t), z),
        expected_calibration_error(_sigmoid(logits), z),
    )


def pair_accuracy(score: F64, pairs: Index, z: F64) -> Metric:
    """Fraction of the untied pairs (K, 2) whose preferred segment has the higher score (N,)."""
    untied = np.abs(z - 0.5) > TIE_BAND
    difference = score[pairs[untied, 0]] - score[pairs[untied, 1]]
    right = np.sign(difference) == np.sign(z[untied] - 0.5)
    return rate(int(right.sum()), int(untied.sum()))


def cross_entropy(logits: F64, z: F64) -> float:
    """Mean over pairs (K,), in nats."""
    return float(np.mean(np.logaddexp(0.0, logits) - z * logits))


def _sigmoid(x: F64) -> F64:
    return 0.5 * (1.0 + np.tanh(0.5 * x))
