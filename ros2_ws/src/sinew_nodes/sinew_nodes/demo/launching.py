"""A launch file run in a process of its own, with its output in a log file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from sinew_policies.common.dds import dds_environment, free_domain

_STOP_S = 12.0


def choose_domain() -> int:
    """Takes a free ROS domain for this process and its children, unless the user has set one."""
    os.environ.update(dds_environment(os.environ))
    domain = free_domain()
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    return domain


class Launch:
    """`sinew launch NAME ARGUMENTS` between `with` and its end."""

    def __init__(self, name: str, arguments: Mapping[str, object], log: Path) -> None:
        self._words = [name, *(f"{key}:={value}" for key, value in arguments.items())]
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = time.monotonic()

    def __enter__(self) -> "Launch":
        self._started = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sinew_policies.common.cli", "launch", *self._words],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def seconds(self) -> float:
        """Since the launch."""
        return time.monotonic() - self._started

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """SIGINT and time to end by itself; the runner bounds that time, so a kill is the very last resort."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def tail(self, lines: int = 25) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
