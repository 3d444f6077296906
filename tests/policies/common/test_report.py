"""Intervals against published values, and the one JSON form."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinew_policies.common.report import Metric, Report, machine, percentile, rate


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3 (Wilson score without continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_matches_newcombe(k: int, n: int, low: float, high: float) -> None:
    m = rate(k, n)
    assert (m.value, m.n) == (k / n, n)
    assert (m.low, m.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@given(st.integers(1, 2000), st.data())
def test_interval_holds_the_rate_and_mirrors(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    m, mirrored = rate(k, n), rate(n - k, n)
    assert 0.0 <= m.low <= m.value <= m.high <= 1.0
    assert m.low == pytest.approx(1.0 - mirrored.high)


def test_rate_of_nothing_is_null_in_json(tmp_path) -> None:
    assert math.isnan(rate(0, 0).value)
    Report("x", 0, 1.0, {"gsr": rate(0, 0)}).write(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["metrics"]["gsr"]["value"] is None


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="5 successes of 4"):
        rate(5, 4)


def test_percentile_interval_covers_the_median_about_95_percent_of_the_time() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        m = percentile(rng.normal(size=60), 50.0)
        assert m.low <= m.value <= m.high
        covered += m.low <= 0.0 <= m.high
    assert covered >= 0.93 * 400


def test_report_has_the_common_form(tmp_path) -> None:
    path = tmp_path / "deep" / "r.json"
    Report(
        "sinew eval grasp", 3, 12.3456789, {"gsr": Metric(0.5, 0.4, 0.6, 10, "fraction")}, [{"policy": "a"}]
    ).write(path)
    found = json.loads(path.read_text())
    assert list(found) == ["command", "version", "seed", "machine", "seconds", "metrics", "rows"]
    assert found["metrics"] == {"gsr": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10, "unit": "fraction"}}
    assert found["rows"] == [{"policy": "a"}]
    assert found["seed"] == 3


def test_machine_says_kind_not_name() -> None:
    import platform

    assert "core" in machine()
    assert platform.node() not in machine()
