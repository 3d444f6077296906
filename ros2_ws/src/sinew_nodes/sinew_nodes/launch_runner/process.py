"""One child process: its own process group, ended with its parent, output read without blocking."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from sinew_nodes.launch_runner.plan import ProcessSpec
from sinew_policies.common.errors import LaunchError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
_CHUNK = 65536
_START_UP_S = 20.0
"""Longest start of a program on a loaded machine; older ones without a handler mean to live with plain SIGINT."""


RESPAWN_VARIABLE = "SINEW_RESPAWN"
"""Set for a process that was started again: how often so far."""


class Child:
    """A running process of a plan.

    Raises LaunchError: it could not be started.
    """

    def __init__(self, spec: ProcessSpec, origin: str, tries: int = 0) -> None:
        self.spec = spec
        self.origin = origin
        self.tries = tries  # respawns so far
        self._partial: dict[IO[bytes], bytes] = {}
        self._started = time.monotonic()
        parent = os.getpid()

        def before_exec() -> None:
            # If the runner is killed outright, the kernel takes its children along.
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)

        try:
            # A group of its own: Ctrl-C reaches the runner alone, which then stops every child in order.
            self.popen = subprocess.Popen(
                spec.command,
                env={**dict(spec.environment), **({RESPAWN_VARIABLE: str(tries)} if tries else {})},
                cwd=spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
                preexec_fn=before_exec,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LaunchError(
                f"{spec.where}: cannot start '{spec.command[0]}' ({error}); check the path"
            ) from error
        for pipe in self.pipes:
            os.set_blocking(pipe.fileno(), False)
            self._partial[pipe] = b""

    @property
    def pipes(self) -> tuple[IO[bytes], ...]:
        return tuple(p for p in (self.popen.stdout, self.popen.stderr) if p is not None)

    def read_lines(self, pipe: IO[bytes]) -> tuple[list[str], bool]:
        """(complete lines that are there now, whether the pipe is still open)."""
        data = self._partial[pipe]
        is_open = True
        try:
            chunk = os.read(pipe.fileno(), _CHUNK)
            is_open = bool(chunk)
            data += chunk
        except BlockingIOError:
            pass
        *lines, self._partial[pipe] = data.split(b"\n")
        if not is_open and self._partial[pipe]:
            lines.append(self._partial[pipe])
            self._partial[pipe] = b""
        # A progress bar redraws its line: its last state is what counts.
        return [line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode(errors="replace") for line in lines], is_open

    def shows(self, pipe: IO[bytes]) -> bool:
        """Whether lines of this pipe go to the screen."""
        if self.spec.output in ("log", "own_log"):
            return self.spec.output == "log" and pipe is self.popen.stderr
        return True

    def poll(self) -> int | None:
        return self.popen.poll()

    def stop_signal(self) -> signal.Signals:
        """The first signal of a shutdown: SIGINT, or SIGTERM while the program is still starting.

        A Python program raises KeyboardInterrupt in the middle of its imports until it has handlers of its own,
        which shows as a traceback or is swallowed. It has them once it catches SIGTERM; before, SIGTERM ends it.
        """
        starting = (
            time.monotonic() - self._started < _START_UP_S and _catches(self.popen.pid, signal.SIGTERM) is False
        )
        return signal.SIGTERM if starting else signal.SIGINT

    def send(self, number: signal.Signals) -> None:
        """To the process itself; SIGKILL to all that it started as well."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number is signal.SIGKILL:
                os.killpg(self.popen.pid, number)
            else:
                self.popen.send_signal(number)

    def sweep(self) -> None:
        """After its end: nothing that it started stays behind."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)


def _catches(pid: int, number: signal.Signals) -> bool | None:
    """Whether the process has a handler for the signal; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return bool(masks[0] >> (number - 1) & 1) if masks else None
