"""Keeps a loop in step with the wall clock and measures how well it does."""

import threading
import time
from collections import deque

_WINDOW_S = 5.0
_MAX_LAG_S = 2.0
_SHORTEST = 0.8
_LATE_PERIODS = 2.0


class Pacer:
    """One `wait` per period. After a stall it catches up at 1.25 times the speed, up to 2 s; more is given up.

    No burst: whoever commands the robot by the wall clock would seem silent during it.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._next = 0.0
        self._last = 0.0
        self._marks: deque[float] = deque(maxlen=round(_WINDOW_S / period_s) + 1)

    def start(self) -> None:
        self._last = time.monotonic()
        self._next = self._last + self._period_s
        self._marks.clear()

    def wait(self, stop: threading.Event) -> None:
        wake = max(self._next, self._last + _SHORTEST * self._period_s)
        left_s = wake - time.monotonic()
        if left_s > 0:
            stop.wait(left_s)
        now = time.monotonic()
        self._marks.append(now)
        # Counting from when it should have woken keeps the rate under a scheduler's usual lateness.
        self._last = max(wake, now - _LATE_PERIODS * self._period_s)
        if now - self._next > _MAX_LAG_S:
            self._next = now
        self._next += self._period_s

    @property
    def factor(self) -> float:
        """Periods per period of wall time over the last 5 s; NaN before the first second has passed."""
        marks = tuple(self._marks)
        if len(marks) * self._period_s < 1.0:
            return float("nan")
        return (len(marks) - 1) * self._period_s / (marks[-1] - marks[0])
