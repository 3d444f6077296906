"""Who calls a device loop: a thread of its own for real devices, the world's control tick in simulation."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

Work = Callable[[float], None]
"""Called once per control period with the seconds since the last call."""


class Ticker(Protocol):
    def attach(self, work: Work) -> Callable[[], None]:
        """Begins to call `work`; the returned function ends it and waits until it is not running."""
        ...


class ThreadTicker:
    """A thread per loop, paced by the monotonic clock; lost periods are given up, not caught up."""

    def __init__(self, period_s: float, name: str) -> None:
        self._period_s = period_s
        self._name = name

    def attach(self, work: Work) -> Callable[[], None]:
        stop = threading.Event()

        def loop() -> None:
            last = time.monotonic()
            due = last + self._period_s
            while not stop.wait(max(due - time.monotonic(), 0.0)):
                now = time.monotonic()
                work(now - last)
                last = now
                due = max(due + self._period_s, now)

        thread = threading.Thread(target=loop, name=self._name, daemon=True)
        thread.start()

        def detach() -> None:
            stop.set()
            if thread is not threading.current_thread():
                thread.join(timeout=1.0)

        return detach
