"""Timing of one call, repeated; the table row and the metric made of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sinew_policies.common.report import Cell, Metric, percentile


@dataclass(frozen=True)
class Timed:
    """Milliseconds of each repetition of `name`; `limit_ms` is the figure to stay under, None = none set."""

    group: str
    name: str
    samples_ms: tuple[float, ...]
    limit_ms: float | None = None

    @property
    def best_ms(self) -> float:
        return min(self.samples_ms)

    @property
    def median(self) -> Metric:
        return percentile(self.samples_ms, 50)

    @property
    def key(self) -> str:
        words = f"{self.group} {self.name}".lower()
        return "_".join("".join(c if c.isalnum() else " " for c in words).split()) + "_ms"

    def row(self) -> dict[str, Cell]:
        return {
            "group": self.group,
            "name": self.name,
            "best_ms": round(self.best_ms, 4),
            "median_ms": round(self.median.value, 4),
            "limit_ms": self.limit_ms,
            "n": len(self.samples_ms),
        }


def timed(
    group: str, name: str, call: Callable[[], object], *, repeats: int, limit_ms: float | None = None
) -> Timed:
    """Calls once unmeasured (compilation, caches), then `repeats` times."""
    call()
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        samples.append((time.perf_counter() - start) * 1e3)
    return Timed(group, name, tuple(samples), limit_ms)


def total(group: str, name: str, parts: Sequence[Timed], limit_ms: float) -> Timed:
    """The sum of the parts, repetition by repetition."""
    sums = [sum(s) for s in zip(*(p.samples_ms for p in parts), strict=True)]
    return Timed(group, name, tuple(sums), limit_ms)
