"""Stop signals at random moments of a launch: does it end well, in time, and without leaving a process behind."""

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ros_fakes.launched import Launch

LIMIT_S = 5.0
EARLIEST_S, LATEST_S = 1.0, 12.0
_KINDS = (
    ("SIGINT", signal.SIGINT, 1),
    ("double SIGINT", signal.SIGINT, 2),
    ("SIGTERM", signal.SIGTERM, 1),
)


@dataclass(frozen=True)
class Trial:
    kind: str
    delay_s: float  # from the start to the signal
    code: int
    seconds: float  # from the signal to the end
    orphans: int
    tracebacks: int

    @property
    def clean(self) -> bool:
        return self.code == 0 and self.seconds <= LIMIT_S and self.orphans == 0


def run(n: int, rng: np.random.Generator, folder: Path) -> Iterator[Trial]:
    """`n` launches of `pick`, one after the other, the kinds of signal in turn."""
    for k in range(n):
        name, number, times = _KINDS[k % len(_KINDS)]
        delay_s = float(rng.uniform(EARLIEST_S, LATEST_S))
        launch = Launch(["pick", f"seed:={k}"], folder / f"signal-{k}.log")
        try:
            time.sleep(delay_s)
            try:
                code, seconds = launch.end(number, times=times)
            except subprocess.TimeoutExpired as late:
                code, seconds = -signal.SIGKILL, float(late.timeout)
            orphans = len(launch.orphans())
        finally:
            launch.kill()
        yield Trial(name, delay_s, code, seconds, orphans, launch.log.read_text().count("Traceback"))
