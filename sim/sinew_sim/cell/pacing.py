"""Keeps a loop in step with the wall clock and measures how well it does."""

import threading
import time
from collections import deque

_WINDOW_S = 5.0
_MAX_LAG_S = 0.1


class Pacer:
    """One `wait` per period. A late loop catches up within 0.1 s; beyond that the lost time is given up."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._next = 0.0
        self._marks: deque[float] = deque(maxlen=round(_WINDOW_S / period_s) + 1)

    def start(self) -> None:
        self._next = time.monotonic() + self._period_s
        self._marks.clear()

    def wait(self, stop: threading.Event) -> None:
        now = time.monotonic()
        self._marks.append(now)
        if now < self._next:
            stop.wait(self._next - now)
        elif now - self._next > _MAX_LAG_S:
            self._next = now
        self._next += self._period_s

    @property
    def factor(self) -> float:
        """Periods per period of wall time over the last 5 s; NaN before the first second has passed."""
        marks = tuple(self._marks)
        if len(marks) * self._period_s < 1.0:
            return float("nan")
        return (len(marks) - 1) * self._period_s / (marks[-1] - marks[0])
