"""Worker processes for long work on this machine: quiet at Ctrl-C, gone when their parent is, clear when lost."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

from sinew_policies.common.child_process import end_with_parent
from sinew_policies.common.errors import SinewError
from sinew_policies.common.process_count import check_process_count


class WorkerLost(SinewError):
    pass


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh interpreters. Leaving the block by an exception kills work that runs, and drops the rest.

    Raises WorkerLost where a worker ended by itself: killed, or unable to import what its work needs.
    """
    check_process_count(workers)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
    processes: Mapping[int, BaseProcess] = pool._processes  # the pool forgets it when it breaks
    try:
        yield pool
    except BrokenProcessPool as fault:
        pool.shutdown()
        raise WorkerLost(
            f"a worker process was lost ({_endings(processes)}); what it said is above. Killed without a word, the "
            "machine was probably out of memory: take fewer workers. The same command goes on with what is missing"
        ) from fault
    except BaseException:
        for process in processes.values():
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """First thing in a worker, before it imports what its work needs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent decides
    end_with_parent()


def _endings(processes: Mapping[int, BaseProcess]) -> str:
    """How the workers ended, but for those that the pool ended when it missed one."""
    codes = {process.exitcode for process in processes.values()} - {0, None, -signal.SIGTERM}
    said = [signal.Signals(-c).name if c is not None and c < 0 else f"exit status {c}" for c in codes]
    return ", ".join(sorted(said)) or signal.SIGTERM.name
