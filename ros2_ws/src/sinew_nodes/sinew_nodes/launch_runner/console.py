"""Lines of many processes on one screen, each with its origin in front; everything also goes into a log file."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

_COLORS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_ERROR, _NOTE = 91, 90


class Console:
    def __init__(self, stream: TextIO | None = None, log_folder: Path | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._colored = self._stream.isatty() and "NO_COLOR" not in os.environ
        self._log = _open_log(log_folder if log_folder is not None else _log_base(os.environ))
        self._names: dict[str, int] = {}
        self.closed = False  # nobody reads any more

    @property
    def colored(self) -> bool:
        return self._colored

    def line(self, origin: str, text: str, screen: bool = True) -> None:
        """One line of a process."""
        color = _COLORS[self._names.setdefault(origin, len(self._names)) % len(_COLORS)]
        self._write(f"{self._paint(f'[{origin}]', color)} {text}", f"[{origin}] {text}", screen)

    def note(self, text: str) -> None:
        self._write(self._paint(f"[launch] {text}", _NOTE), f"[launch] {text}")

    def error(self, text: str) -> None:
        self._write(self._paint(f"[launch] {text}", _ERROR), f"[launch] ERROR {text}")

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _write(self, painted: str, plain: str, screen: bool = True) -> None:
        if self._log is not None:
            self._log.write(f"{time.time():.3f} {plain}\n")
            self._log.flush()
        if screen and not self.closed:
            try:
                self._stream.write(painted + "\n")
                self._stream.flush()
            except (BrokenPipeError, OSError):
                self.closed = True

    def _paint(self, text: str, color: int) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._colored else text


def describe_exit(code: int) -> str:
    """'exit code 3', or 'killed by SIGKILL' for a negative code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _log_base(environment: "os._Environ[str]") -> Path:
    if "ROS_LOG_DIR" in environment:
        return Path(environment["ROS_LOG_DIR"])
    home = environment.get("ROS_HOME")
    return (Path(home) if home else Path.home() / ".ros") / "log"


def _open_log(base: Path) -> TextIO | None:
    folder = base / f"{time.strftime('%Y-%m-%d-%H-%M-%S')}-sinew-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "launch.log").open("w")
    except OSError:
        return None  # a read-only home must not keep a robot from starting
