import math

import pytest

from sinew_policies.common.report import Row
from sinew_sim.evaluation.pearl_totals import label_totals, policy_totals


def row(method: str, pair: str, labelled: float | None, every: float) -> Row:
    return {
        "method": method,
        "pair": pair,
        "length": 50,
        "target_labels": 0,
        "label_accuracy": {"value": labelled},
        "abstained": {"value": 0.1 if labelled is not None else 1.0},
        "label_accuracy_had_it_not_abstained": {"value": every},
    }


def test_means_over_pairs_leave_out_what_was_refused() -> None:
    rows = [row("random", "a:b", 0.5, 0.5), row("cpa", "a:b", 0.9, 0.8), row("cpa", "a:c", 0.7, 0.6)]
    cpa, random = label_totals([*rows, row("cpa", "a:d", None, 0.1)])
    assert (cpa.method, random.method) == ("cpa", "random")
    assert (cpa.labelled, cpa.lowest, cpa.every) == pytest.approx((0.8, 0.7, 0.5))
    assert (cpa.abstained, cpa.n) == (pytest.approx(0.4), 3)
    assert not policy_totals(rows)


def test_all_refused_is_no_number() -> None:
    (total,) = label_totals([row("cpa", "a:b", None, 0.5)])
    assert math.isnan(total.labelled)
    assert math.isnan(total.lowest)
