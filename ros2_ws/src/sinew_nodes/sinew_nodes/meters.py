"""What a node measures of itself: rates, latency per stage, drops. Thread-safe, drained once a second."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reading:
    rates_hz: dict[str, float]  # events per second since the last reading
    stage_ms: dict[str, tuple[float, float, float]]  # median, 95th percentile, maximum
    counts: dict[str, int]  # totals since the node was built: drops, rejections, …
    new_counts: dict[str, int]  # the same since the last reading


class Meters:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, int] = defaultdict(int)
        self._stages: dict[str, list[float]] = defaultdict(list)
        self._counts: dict[str, int] = defaultdict(int)
        self._seen: dict[str, int] = defaultdict(int)
        self._since = time.monotonic()

    def tick(self, name: str) -> None:
        """One event of the stream `name`; read back as a rate."""
        with self._lock:
            self._events[name] += 1

    def count(self, name: str, n: int = 1) -> None:
        """Something that should not happen often: a drop, a rejection."""
        with self._lock:
            self._counts[name] += n

    def record_ms(self, stage: str, ms: float) -> None:
        with self._lock:
            self._stages[stage].append(ms)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.record_ms(name, (time.perf_counter() - start) * 1e3)

    def read(self) -> Reading:
        with self._lock:
            now = time.monotonic()
            span = max(now - self._since, 1e-6)
            self._since = now
            rates = {name: n / span for name, n in self._events.items()}
            stages = {
                name: (float(np.median(v)), float(np.percentile(v, 95)), float(max(v)))
                for name, v in self._stages.items()
                if v
            }
            counts = dict(self._counts)
            new = {name: n - self._seen[name] for name, n in counts.items()}
            self._seen.update(counts)
            for name in self._events:
                self._events[name] = 0
            self._stages.clear()
            return Reading(rates, stages, counts, new)
