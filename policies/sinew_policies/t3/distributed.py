"""Processes of one training: started here on one machine, or by torchrun on several."""

import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist
import torch.multiprocessing as mp

from sinew_policies.common.errors import SinewError

T = TypeVar("T")

_TIMEOUT = timedelta(hours=2)  # the others wait while the first process validates


class TrainingProcessDied(SinewError):
    pass


def started_by_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def torchrun_place() -> tuple[int, int]:
    """(rank, processes)."""
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@contextmanager
def joined(rank: int, processes: int, rendezvous: str) -> Iterator[None]:
    """A gloo group for the time of the block."""
    dist.init_process_group("gloo", rendezvous, timeout=_TIMEOUT, rank=rank, world_size=processes)
    try:
        yield
    finally:
        dist.destroy_process_group()


def run_together(processes: int, folder: Path, own: Callable[[], T], work: Callable[[int], object]) -> T:
    """`own()` as rank 0 in this process, beside `work(rank)` in others of this machine; returns what `own` did.

    `work` must be picklable. Raises TrainingProcessDied where another process ended early, its message printed.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nothing listens beyond this machine
    meeting = folder / f".rendezvous-{uuid.uuid4().hex}"
    rendezvous = f"file://{meeting.resolve()}"
    context = mp.get_context("spawn")
    others = [
        context.Process(target=_other_process, args=(rank, processes, rendezvous, work), daemon=False)
        for rank in range(1, processes)
    ]
    # Ctrl-C reaches the whole process group; the others must ignore it from their first instruction on.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for process in others:
        process.start()
    signal.signal(signal.SIGINT, before)
    try:
        with joined(0, processes, rendezvous):
            return own()
    except RuntimeError as fault:
        if any(process.exitcode not in (None, 0) for process in others) or "closed by peer" in str(fault):
            raise TrainingProcessDied(
                "another training process died; its message is above. The same command resumes from the last "
                "checkpoint"
            ) from fault
        raise
    except BaseException:
        for process in others:
            process.kill()
        raise
    finally:
        for process in others:
            process.join(30.0)
            if process.is_alive():
                process.kill()
        meeting.unlink(missing_ok=True)


def _other_process(rank: int, processes: int, rendezvous: str, work: Callable[[int], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first process decides
    try:
        with joined(rank, processes, rendezvous):
            work(rank)
    except SinewError as fault:
        print(f"sinew: training process {rank}: {fault}", file=sys.stderr)
        raise SystemExit(2) from fault
    except RuntimeError as fault:
        raise SystemExit(3) from fault  # the first process is gone
