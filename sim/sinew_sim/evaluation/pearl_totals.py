"""Sums over all pairs of tasks and seeds, one per method: what each part of it is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sinew_policies.common.report import Metric, Row, rate
from sinew_policies.pearl.reward_scaling import CONTROLS
from sinew_sim.evaluation.pearl_labels import CONTROL_LABELS, METHOD
from sinew_sim.evaluation.pearl_reward import ALL_LABELS, CLONING, ORACLE, TARGET_LABELS


@dataclass(frozen=True)
class LabelTotal:
    """Means over pairs of tasks and seeds; NaN where all of them were refused."""

    method: str
    steps: int  # per segment
    target_labels: int
    labelled: float  # accuracy over the pairs of segments that get a label
    lowest: float  # of the pairs of tasks and seeds
    abstained: float
    every: float  # accuracy had it not abstained
    n: int  # pairs of tasks and seeds


def label_totals(rows: Sequence[Row]) -> list[LabelTotal]:
    """One for each method, length and number of target labels; empty for the other stages."""
    found: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        if "label_accuracy" in row:
            key = str(row["method"]), int(str(row["length"])), int(str(row["target_labels"]))
            found.setdefault(key, []).append(row)
    totals = []
    for method in (METHOD, *CONTROL_LABELS):
        for (name, steps, given), group in found.items():
            if name == method:
                labelled = _values(group, "label_accuracy")
                totals.append(
                    LabelTotal(
                        method,
                        steps,
                        given,
                        labelled=_mean(labelled),
                        lowest=min(labelled, default=float("nan")),
                        abstained=_mean(_values(group, "abstained")),
                        every=_mean(_values(group, "label_accuracy_had_it_not_abstained")),
                        n=len(group),
                    )
                )
    return totals


def policy_totals(rows: Sequence[Row]) -> list[tuple[str, Metric]]:
    """Success of each kind of policy; empty for the other stages."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        success = row.get("policy_success")
        if isinstance(success, Mapping):
            done, n = found.get(str(row["method"]), (0, 0))
            tried = int(success["n"] or 0)
            found[str(row["method"])] = done + round(float(success["value"] or 0.0) * tried), n + tried
    return [
        (name, rate(*found[name]))
        for name in (METHOD, ALL_LABELS, ORACLE, TARGET_LABELS, *CONTROLS, CLONING)
        if name in found
    ]


def _values(rows: Sequence[Row], name: str) -> list[float]:
    metrics = [row[name] for row in rows]
    return [float(m["value"]) for m in metrics if isinstance(m, Mapping) and m["value"] is not None]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
