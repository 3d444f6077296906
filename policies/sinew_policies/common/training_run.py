"""What every training run does beside learning: shows progress, stops at a signal, keeps its state in a folder."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sinew_policies.common.errors import CheckpointError
from sinew_policies.common.torch_archive import read_archive

STATE_FILE = "training_state.pt"

_SAY_EVERY_S = 30.0


@contextmanager
def progress(console: Console, total: float, done: float = 0.0) -> Iterator[Callable[[float, str], None]]:
    """`show(done, description)`: a bar, or a line every 30 s where none can be drawn."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=console.quiet
    ) as bar:
        task = bar.add_task("starting", total=total)
        bar.update(task, completed=done)
        said = time.monotonic()

        def show(done: float, description: str) -> None:
            nonlocal said
            bar.update(task, completed=done, description=description)
            if not console.is_terminal and time.monotonic() - said > _SAY_EVERY_S:
                console.print(f"{100 * done / total:.1f} % {description}")
                said = time.monotonic()

        yield show


@contextmanager
def interrupts(listening: bool = True) -> Iterator[list[int]]:
    """A list that becomes non-empty at SIGINT or SIGTERM; a second one ends at once.

    Stays empty outside the main thread, and where `listening` is false because another process decides.
    """
    received: list[int] = []
    if not listening or threading.current_thread() is not threading.main_thread():
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


def save_state(folder: Path, settings: str, training: Mapping[str, object]) -> None:
    """Tensors and plain containers, in one file that appears whole or not at all.

    `settings` says line by line what decides the training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{STATE_FILE}.partial"
    torch.save({"settings": settings, "training": training}, partial)
    partial.replace(folder / STATE_FILE)


def resume(folder: Path, settings: str, restore: Callable[[Mapping[str, Any]], None]) -> bool:
    """Calls `restore` with the training that `folder` holds; False where it holds none.

    Raises CheckpointError for other settings, for a damaged file, and where `restore` fails in whatever way.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return False
    try:
        state: Any = read_archive(path)
        found = state["settings"]
        if not isinstance(found, str):  # the text of containers that share parts may be endless
            raise TypeError(f"its settings are a {type(found).__name__}, expected text")
        if found == settings:
            restore(state["training"])
    except Exception as fault:  # a damaged file can make any reader fail in any way
        raise CheckpointError(
            f"cannot resume from {path} ({fault}); it belongs to another configuration or is damaged: choose "
            "another --out, or delete the folder to start again"
        ) from fault
    if found != settings:
        raise CheckpointError(
            f"{path} was trained with other settings: {_difference(found, settings)}; use those, or choose "
            "another --out"
        )
    return True


def _difference(theirs: str, ours: str) -> str:
    pairs = zip(theirs.splitlines(), ours.splitlines(), strict=False)
    return ", ".join(f"'{a}' instead of '{b}'" for a, b in pairs if a != b) or "other names"
