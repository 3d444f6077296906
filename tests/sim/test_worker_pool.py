"""Workers heed their parent alone, end with it, and are missed when they end by themselves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest

from sinew_sim.worker_pool import WorkerLost, worker_pool

LIMIT_S = 60.0  # of what takes a second on a quiet machine


def test_ctrl_c_does_not_reach_the_work() -> None:
    with worker_pool(1) as pool:
        pool.submit(signal.raise_signal, signal.SIGINT).result(LIMIT_S)
        assert pool.submit(pow, 2, 5).result(LIMIT_S) == 32


@pytest.mark.parametrize(
    ("end", "how"),
    [(partial(signal.raise_signal, signal.SIGKILL), "SIGKILL"), (partial(os._exit, 7), "exit status 7")],
)
def test_a_lost_worker_is_named_by_its_end(end: Callable[[], object], how: str) -> None:
    with pytest.raises(WorkerLost, match=rf"lost \({how}\).*fewer workers.*same command"), worker_pool(1) as pool:
        pool.submit(end).result(LIMIT_S)


def test_an_error_of_the_work_is_that_error() -> None:
    with pytest.raises(ZeroDivisionError), worker_pool(1) as pool:
        pool.submit(divmod, 1, 0).result(LIMIT_S)


def test_an_interrupt_ends_running_work_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError), worker_pool(1) as pool:  # any exception, as Ctrl-C is one
        pool.submit(time.sleep, 10 * LIMIT_S).result(1.0)
    assert time.monotonic() - began < LIMIT_S


def test_workers_end_with_a_parent_that_is_killed() -> None:
    program = (
        "import os, signal, time\n"
        "from sinew_sim.worker_pool import worker_pool\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(1) as pool:\n"
        "        print(pool.submit(os.getpid).result(), flush=True)\n"
        f"        pool.submit(time.sleep, {10 * LIMIT_S})\n"
        "        signal.raise_signal(signal.SIGKILL)\n"
    )
    # Ends when nobody holds its output any more, the worker included.
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=LIMIT_S)
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0
