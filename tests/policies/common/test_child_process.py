import signal
import subprocess
import sys

LIMIT_S = 60.0  # of what takes a second on a quiet machine
PROGRAM = """
import multiprocessing, signal
from sinew_policies.common.child_process import end_with_parent

def child(ready):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    ready.set()
    signal.pause()

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    context.Process(target=child, args=(ready,)).start()
    assert ready.wait(60.0)
    signal.raise_signal(signal.SIGKILL)
"""


def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    # Ends when nobody holds its output any more, the child included.
    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, timeout=LIMIT_S)
    assert done.returncode == -signal.SIGKILL
