"""Drives a training from the command line: progress, interruption after a block, resuming as if never stopped."""

import hashlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sinew_policies.common import config as configuration
from sinew_policies.common.errors import CheckpointError, ConfigError

STATE_FILE = "training_state.pt"

_SAVE_EVERY_S = 30.0


class Training(Protocol):
    """A training that goes on block by block and can be taken up from its state."""

    steps_done: int

    @property
    def finished(self) -> bool: ...
    def block(self) -> None: ...
    def describe(self) -> str: ...
    def state(self) -> dict[str, object]: ...
    def restore(self, state: Mapping[str, object]) -> None: ...


def drive(training: Training, out: Path, fingerprint: str, total_steps: int, console: Console) -> bool:
    """Trains to the end (True) or until SIGINT or SIGTERM (False), keeping its state in `out`.

    Raises CheckpointError where `out` holds a damaged state or that of another training.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"run folder {out} cannot be made ({fault.strerror}); choose another --out") from fault
    torch.set_num_threads(1)  # batches are small, and threads spin where cores are shared
    _resume(training, out / STATE_FILE, fingerprint, console)
    saved = time.monotonic()
    with _interrupts() as interrupted, _bar(console) as bar:
        task = bar.add_task("starting", total=total_steps, completed=training.steps_done)
        while not training.finished and not interrupted:
            training.block()
            bar.update(task, completed=training.steps_done, description=training.describe())
            if time.monotonic() - saved > _SAVE_EVERY_S:
                _save(training, out / STATE_FILE, fingerprint)
                saved = time.monotonic()
    _save(training, out / STATE_FILE, fingerprint)
    console.print(f"step {training.steps_done}: {training.describe()}")
    return training.finished


def fingerprint(config: object, seed: int, arrays: Sequence[NDArray]) -> str:
    """Equal for equal configuration, seed and data."""
    digest = hashlib.sha256(f"{seed}\n{configuration.to_yaml(config)}".encode())
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _resume(training: Training, path: Path, fingerprint: str, console: Console) -> None:
    if not path.exists():
        return
    remedy = "choose another --out, or delete the folder to start again"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["fingerprint"]
        if found == fingerprint:
            training.restore(state["training"])
    except Exception as fault:  # a damaged file makes the reader fail in any way
        raise CheckpointError(f"cannot resume from {path}: it is damaged ({fault}); {remedy}") from fault
    if found != fingerprint:
        raise CheckpointError(f"{path} is of a training with other data, settings or seed; {remedy}")
    console.print(f"resuming at step {training.steps_done}")


def _save(training: Training, path: Path, fingerprint: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    torch.save({"fingerprint": fingerprint, "training": training.state()}, partial)
    partial.replace(path)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that becomes non-empty at SIGINT or SIGTERM; a second one ends at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=console
    )
