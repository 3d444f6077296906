"""Accuracy of transferred labels, with intervals that respect where the pairs come from.

Pairs that share a trajectory are not independent, so intervals resample trajectories, and over several pairs of
tasks also those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.report import Metric
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64

REPLICATES = 400


@dataclass(frozen=True)
class Estimate:
    """A figure and what it becomes in each resampling; NaN where nothing was counted."""

    group: str  # estimates of one group (a pair of tasks) are resampled together
    value: float
    replicates: F64  # (REPLICATES,)
    n: int

    @property
    def metric(self) -> Metric:
        low, high = _bounds(self.replicates)
        return Metric(self.value, low, high, self.n, "fraction")


def label_accuracy(
    group: str, z: F64, truth: F64, counted: NDArray[np.bool_], episode: NDArray[np.int64], seed: int
) -> Estimate:
    """Share of the counted pairs (N, N), ties of `truth` left out, on which z takes truth's side.

    A z of exactly 0.5 counts half. `episode` (N,) says which segments belong together; n counts pairs i < j.
    """
    judged = counted & (truth != 0.5)
    right = np.where(z == 0.5, 0.5, (z > 0.5) == (truth > 0.5))
    return share(group, right * judged, judged.astype(np.float64), episode, seed)


def share(group: str, part: F64, whole: F64, episode: NDArray[np.int64], seed: int) -> Estimate:
    """sum(part) / sum(whole) over pairs (N, N), resampled by episode."""
    part, whole = part - np.diag(np.diag(part)), whole - np.diag(np.diag(whole))
    names, place = np.unique(episode, return_inverse=True)
    draws = stream(seed, "bootstrap").multinomial(len(names), np.full(len(names), 1 / len(names)), REPLICATES)
    weights = draws[:, place].astype(np.float64)  # (R, N)
    replicates = _ratio(((weights @ part) * weights).sum(1), ((weights @ whole) * weights).sum(1))
    value = float(_ratio(part.sum(keepdims=True), whole.sum(keepdims=True))[0, 0])
    return Estimate(group, value, replicates, int(np.triu(whole > 0, 1).sum()))


def ratio(part: Estimate, whole: Estimate) -> Estimate:
    """part / whole, both resampled alike."""
    value = part.value / whole.value if whole.value > 0 else float("nan")
    return Estimate(part.group, value, _ratio(part.replicates, whole.replicates), min(part.n, whole.n))


def mean(estimates: Sequence[Estimate], seed: int) -> Metric:
    """Mean of those estimates that are numbers; its interval resamples groups, and within them as they did."""
    found = [e for e in estimates if np.isfinite(e.value)]
    if not found:
        return Metric(float("nan"), float("nan"), float("nan"), 0, "fraction")
    groups = sorted({e.group for e in found})
    totals = np.stack([np.sum([np.nan_to_num(e.replicates) for e in found if e.group == g], 0) for g in groups])
    counts = np.stack([np.sum([np.isfinite(e.replicates) for e in found if e.group == g], 0) for g in groups])
    drawn = stream(seed, "bootstrap groups").integers(0, len(groups), (REPLICATES, len(groups)))
    column = np.arange(REPLICATES)[:, None]
    low, high = _bounds(_ratio(totals[drawn, column].sum(1), counts[drawn, column].sum(1).astype(np.float64)))
    value = float(np.mean([e.value for e in found]))
    return Metric(value, min(low, value), max(high, value), len(found), "fraction")


def _ratio(part: F64, whole: F64) -> F64:
    return np.divide(part, whole, out=np.full_like(part, np.nan, dtype=np.float64), where=whole > 0)


def _bounds(replicates: F64) -> tuple[float, float]:
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return float("nan"), float("nan")
    return float(np.percentile(finite, 2.5)), float(np.percentile(finite, 97.5))
