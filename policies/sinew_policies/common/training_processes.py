"""Processes of one training: started here on one machine, or by torchrun on several.

They meet through gloo, and their GPUs through NCCL.
"""

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from sinew_policies.common.child_process import end_with_parent
from sinew_policies.common.compute_device import choose_device
from sinew_policies.common.errors import SinewError
from sinew_policies.common.process_count import check_process_count

T = TypeVar("T")

_START_TIMEOUT_S = 300.0
_TIMEOUT = timedelta(hours=2)  # the others wait while the first process validates; a death is seen at once
_LOST_ANOTHER = re.compile("by peer|broken pipe|timed? ?out", re.IGNORECASE)  # in gloo's messages


class TrainingProcessDied(SinewError):
    pass


def run_together(processes: int, own: Callable[[], T], work: Callable[[int], object], *, device: str = "cpu") -> T:
    """`own()` as rank 0 in this process, beside `work(rank)` in others of this machine; returns what `own` did.

    `work` must be picklable; what is averaged lies on `device`. Raises TrainingProcessDied, with its message where
    it had one, where another process ended early, and ConfigError as `choose_device` and for more
    processes than the machine bears.
    """
    check_process_count(processes)
    kind = choose_device(device, processes).type
    if processes == 1:
        return own()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nothing listens beyond this machine
    context = mp.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="sinew-training-") as name:
        folder, started = Path(name), context.Semaphore(0)
        others = [
            # Not daemons, which could not have data workers.
            context.Process(target=_other_process, args=(rank, processes, folder, started, work, kind))
            for rank in range(1, processes)
        ]
        patience_s = 0.0
        try:
            _start(others)
            _await(others, started)
            with joined(0, processes, _rendezvous(folder), kind):
                result = own()
            patience_s = 30.0
            return result
        except RuntimeError as fault:
            if not _LOST_ANOTHER.search(str(fault)):
                raise
            _end(others, 10.0)  # what they say is complete then
            said = [path.read_text() for path in sorted(folder.glob("fault.*"))]
            raise TrainingProcessDied(
                f"another training process died: {'; '.join(said) or f'its message is above ({fault})'}. "
                "The same command resumes from the last checkpoint"
            ) from fault
        finally:
            _end(others, patience_s)


def started_by_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def torchrun_place() -> tuple[int, int]:
    """(rank, processes)."""
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def number_here(rank: int) -> int:
    """The number on its own machine of process `rank`, which torchrun may have started on any of several."""
    return int(os.environ.get("LOCAL_RANK", rank)) if started_by_torchrun() else rank


@contextmanager
def joined(rank: int, processes: int, rendezvous: str, device: str = "cpu") -> Iterator[None]:
    """A group for the time of the block; on `device` cuda it takes tensors of either kind."""
    backend = "cpu:gloo,cuda:nccl" if choose_device(device).type == "cuda" else "gloo"
    dist.init_process_group(backend, rendezvous, timeout=_TIMEOUT, rank=rank, world_size=processes)
    try:
        yield
    finally:
        dist.destroy_process_group()


def together() -> bool:
    """Whether this process trains beside others."""
    return dist.is_available() and dist.is_initialized()


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replaces tensors by their means over the processes; alone, it leaves them as they are."""
    if not tensors or not together():
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, mean in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """As `average`; a gradient that a process lacks counts as 0."""
    if together():
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        average([p.grad for p in parameters if p.grad is not None])


def _rendezvous(folder: Path) -> str:
    return f"file://{(folder / 'rendezvous').resolve()}"


def _start(others: Sequence[SpawnProcess]) -> None:
    # Ctrl-C reaches the whole process group; the others must ignore it from their first instruction on.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for process in others:
            process.start()
    finally:
        signal.signal(signal.SIGINT, before)


def _end(others: Sequence[SpawnProcess], patience_s: float) -> None:
    for process in others:
        if process.pid is not None:
            process.join(patience_s)
            process.kill()  # they ignore SIGTERM, and may wait for the first one
            process.join()


def _await(others: Sequence[SpawnProcess], started: Semaphore) -> None:
    """Returns when every other process runs."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    for _ in others:
        while not started.acquire(timeout=0.1):
            if time.monotonic() > deadline or any(process.exitcode is not None for process in others):
                raise TrainingProcessDied(
                    f"a training process did not start within {_START_TIMEOUT_S:.0f} s or ended at once; its "
                    "message is above. What it runs must be importable in a new process"
                )


def _other_process(
    rank: int,
    processes: int,
    folder: Path,
    started: Semaphore,
    work: Callable[[int], object],
    device: str,
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first process decides
    end_with_parent()  # which may be killed before the two have met
    started.release()
    try:
        with joined(rank, processes, _rendezvous(folder), device):
            work(rank)
    except SinewError as fault:
        (folder / f"fault.{rank}").write_text(str(fault))
        raise SystemExit(2) from fault
    except RuntimeError as fault:
        if not _LOST_ANOTHER.search(str(fault)):
            raise
        raise SystemExit(3) from fault  # the first process is gone, or reports the one that is
