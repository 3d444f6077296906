"""Drives a training from the command line: progress, interruption after a block, resuming as if never stopped."""

import argparse
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sinew_policies.common import config as configuration
from sinew_policies.common.compute_device import training_device
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.report import Report
from sinew_policies.common.training_run import interrupts, progress, resume, save_state

_SAVE_EVERY_S = 30.0


class Training(Protocol):
    """A training that goes on block by block and can be taken up from its state."""

    steps_done: int

    @property
    def finished(self) -> bool: ...
    def block(self) -> None: ...
    def describe(self) -> str: ...
    def state(self) -> dict[str, object]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


def drive(training: Training, out: Path, settings: str, total_steps: int, console: Console) -> bool:
    """Trains to the end (True) or until SIGINT or SIGTERM (False), keeping its state in `out`.

    Raises CheckpointError where `out` holds a damaged state or that of a training with other settings.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"run folder {out} cannot be made ({fault.strerror}); choose another --out") from fault
    training_device("cpu")  # batches are small
    if resume(out, settings, training.restore):
        console.print(f"resuming at step {training.steps_done}")
    saved = time.monotonic()
    with interrupts() as interrupted, progress(console, total_steps, training.steps_done) as show:
        while not training.finished and not interrupted:
            training.block()
            show(training.steps_done, training.describe())
            if time.monotonic() - saved > _SAVE_EVERY_S:
                save_state(out, settings, training.state())
                saved = time.monotonic()
    save_state(out, settings, training.state())
    console.print(f"step {training.steps_done}: {training.describe()}")
    return training.finished


def run_arguments(parser: argparse.ArgumentParser, argv: Sequence[str], *, example: str) -> argparse.Namespace:
    """Parses `argv` by what the parser has and what every training takes: out, seed, config, json, settings."""
    parser.add_argument("--out", type=Path, required=True, help="run folder; resumes what it holds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--json", type=Path, help="write the report there")
    parser.add_argument("settings", nargs="*", help=f"name=value, such as {example}")
    a = parser.parse_args(argv)
    if a.json:
        Report.check_writable(a.json)
    return a


def settings_of(config: object, seed: int, arrays: Sequence[NDArray]) -> str:
    """Equal for equal configuration, seed and data; a line for each."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"seed: {seed}\ndata: {digest.hexdigest()[:16]}\n{configuration.to_yaml(config)}"
