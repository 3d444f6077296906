"""Wall and processor time of one call, repeated; the table row and the metric made of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sinew_policies.common.report import Cell, Metric, percentile


@dataclass(frozen=True)
class Timed:
    """Milliseconds of each repetition; processor time adds up over threads and tells most on a busy machine."""

    name: str
    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]
    limit_ms: float | None = None  # wall, median

    @property
    def wall(self) -> Metric:
        return percentile(self.wall_ms, 50)

    @property
    def cpu(self) -> Metric:
        return percentile(self.cpu_ms, 50)

    @property
    def key(self) -> str:
        return "_".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())

    def row(self) -> dict[str, Cell]:
        return {
            "name": self.name,
            "wall_best_ms": round(min(self.wall_ms), 3),
            "wall_median_ms": round(self.wall.value, 3),
            "cpu_best_ms": round(min(self.cpu_ms), 3),
            "cpu_median_ms": round(self.cpu.value, 3),
            "limit_ms": self.limit_ms,
            "n": len(self.wall_ms),
        }


def timed(name: str, call: Callable[[], object], *, repeats: int, limit_ms: float | None = None) -> Timed:
    """Calls once unmeasured (allocation, caches), then `repeats` times."""
    call()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - start_cpu) * 1e3)
    return Timed(name, tuple(wall), tuple(cpu), limit_ms)
