"""`sinew launch` in a process of its own, seen from a test."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Launch:
    def __init__(self, arguments: list[str], log: Path) -> None:
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "sinew"), "launch", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(os.environ),
                start_new_session=True,
            )

    def end(self, number: int = signal.SIGINT, *, times: int = 1) -> tuple[int, float]:
        """(exit code, seconds until the end)."""
        start = time.monotonic()
        for _ in range(times):
            self.process.send_signal(number)
        code = self.process.wait(timeout=15.0)
        return code, time.monotonic() - start

    def orphans(self) -> list[str]:
        """Processes of its session that are still there."""
        found = subprocess.run(
            ["ps", "-o", "pid=,args=", "-s", str(self.process.pid)], capture_output=True, text=True, timeout=10.0
        )
        return [line for line in found.stdout.splitlines() if "defunct" not in line]

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5.0)
