"""Wall and processor time of one call, repeated; the table row and the metric made of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sinew_policies.common.report import Cell, Metric, percentile


@dataclass(frozen=True)
class Timed:
    """Milliseconds of each repetition; processor time adds up over threads and tells most on a busy machine."""

    group: str
    name: str
    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    limit_ms: float | None = None  # None = none set

    @property
    def wall(self) -> Metric:
        return percentile(self.wall_ms, 50)

    @property
    def cpu(self) -> Metric:
        return percentile(self.cpu_ms, 50)

    @property
    def key(self) -> str:
        words = f"{self.group} {self.name}".lower()
        return "_".join("".join(c if c.isalnum() else " " for c in words).split()) + "_ms"

    def row(self) -> dict[str, Cell]:
        return {
            "group": self.group,
            "name": self.name,
            "wall_best_ms": round(min(self.wall_ms), 4),
            "wall_median_ms": round(self.wall.value, 4),
            "cpu_best_ms": round(min(self.cpu_ms), 4),
            "cpu_median_ms": round(self.cpu.value, 4),
            "limit_ms": self.limit_ms,
            "n": len(self.wall_ms),
        }


def timed(
    group: str,
    name: str,
    call: Callable[[], object],
    *,
    repeats: int,
    limit_ms: float | None = None,
    unmeasured: int = 1,
) -> Timed:
    """Calls `unmeasured` times first (compilation, allocation, caches), then `repeats` times."""
    for _ in range(unmeasured):
        call()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        cpu.append((time.process_time() - start_cpu) * 1e3)
        wall.append((time.perf_counter() - start) * 1e3)
    return Timed(group, name, tuple(wall), tuple(cpu), limit_ms)


def total(group: str, name: str, parts: Sequence[Timed], limit_ms: float) -> Timed:
    """The sum of the parts, repetition by repetition."""
    wall = tuple(map(sum, zip(*(p.wall_ms for p in parts), strict=True)))
    cpu = tuple(map(sum, zip(*(p.cpu_ms for p in parts), strict=True)))
    return Timed(group, name, wall, cpu, limit_ms)
