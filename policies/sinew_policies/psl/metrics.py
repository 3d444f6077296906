"""Success, SPL, SoftSPL and distance to goal of navigation episodes.

SPL = S l / max(l, p) and SoftSPL = max(0, 1 - d / l) l / max(l, p), with the geodesic distance l at the start, the
length p of the walked path and the geodesic distance d at the end. Guarded cases:
- l = 0, the episode starts at its goal: l / max(l, p) is 1 for an agent that stays and 0 for one that walks, and
  the progress 1 - d / l is 1 at the goal and 0 elsewhere.
- l infinite, no path leads there: success is impossible, SPL and SoftSPL are 0; such episodes count in every rate,
  and are left out of the mean distance only, which says how many it covers.
- Success needs STOP. A STOP taken as the last allowed step counts, a step limit near the goal does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.report import Metric, rate

FRACTION = (0.0, 1.0)
SUCCESS_DISTANCE_M = 0.1  # to the nearest view point of the goal


@dataclass(frozen=True)
class Outcome:
    """How one episode ended."""

    stopped: bool  # the agent itself ended it by STOP
    start_distance_m: float  # geodesic, infinite where unreachable
    distance_m: float  # geodesic at the end
    path_m: float
    steps: int
    reward: float = 0.0  # sum over the episode

    def __post_init__(self) -> None:
        for name in ("start_distance_m", "distance_m", "path_m"):
            value = getattr(self, name)
            if math.isnan(value) or value < 0.0:
                raise DataError(f"episode outcome: {name} is {value}; expected metres, 0 or more")
        if math.isinf(self.path_m):
            raise DataError("episode outcome: path_m is infinite; expected the metres walked")
        if self.steps < 0:
            raise DataError(f"episode outcome: steps is {self.steps}; expected 0 or more")


def success(outcome: Outcome, success_distance_m: float = SUCCESS_DISTANCE_M) -> bool:
    if not success_distance_m > 0.0:
        raise ConfigError(f"success_distance_m is {success_distance_m}; expected metres above 0")
    return outcome.stopped and outcome.distance_m < success_distance_m and math.isfinite(outcome.start_distance_m)


def spl(outcome: Outcome, success_distance_m: float = SUCCESS_DISTANCE_M) -> float:
    return _efficiency(outcome) if success(outcome, success_distance_m) else 0.0


def soft_spl(outcome: Outcome) -> float:
    start, end = outcome.start_distance_m, outcome.distance_m
    if math.isinf(start) or math.isinf(end):
        return 0.0
    progress = float(end == 0.0) if start == 0.0 else max(0.0, 1.0 - end / start)
    return progress * _efficiency(outcome)


@dataclass(frozen=True)
class Scores:
    """Means over episodes with 95 % intervals: Wilson for the first two, Student for the others."""

    success: Metric
    stopped: Metric  # ended by the agent's own STOP, right or wrong
    spl: Metric
    soft_spl: Metric
    distance_m: Metric
    unreachable: int  # episodes without a path


def score(outcomes: Sequence[Outcome], success_distance_m: float = SUCCESS_DISTANCE_M) -> Scores:
    """Raises DataError where there is nothing to score."""
    if not outcomes:
        raise DataError("no episode was played, so there is nothing to score; play at least one")
    reached = [success(o, success_distance_m) for o in outcomes]
    finite = [o.distance_m for o in outcomes if math.isfinite(o.distance_m)]
    return Scores(
        success=rate(sum(reached), len(reached)),
        stopped=rate(sum(o.stopped for o in outcomes), len(outcomes)),
        spl=mean_metric([spl(o, success_distance_m) for o in outcomes], "fraction", FRACTION),
        soft_spl=mean_metric([soft_spl(o) for o in outcomes], "fraction", FRACTION),
        distance_m=mean_metric(finite, "m", (0.0, math.inf)),
        unreachable=sum(math.isinf(o.start_distance_m) for o in outcomes),
    )


def mean_metric(
    values: Sequence[float], unit: str = "", bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Metric:
    """Mean with Student's 95 % interval inside `bounds`, for independent values such as one figure per seed."""
    x = np.asarray(values, np.float64)
    n = len(x)
    if n == 0:
        return Metric(math.nan, math.nan, math.nan, 0, unit)
    mean = float(x.mean())
    if n == 1:
        return Metric(mean, math.nan, math.nan, 1, unit)
    half = float(student_t.ppf(0.975, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Metric(mean, max(bounds[0], mean - half), min(bounds[1], mean + half), n, unit)


def _efficiency(outcome: Outcome) -> float:
    """l / max(l, p), 1 where both are 0."""
    longest = max(outcome.start_distance_m, outcome.path_m)
    return outcome.start_distance_m / longest if longest > 0.0 else 1.0
