"""A child process that does not outlive its parent."""

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """From now on this process ends when its parent does, however that ended, and whatever this one is doing."""
    Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    parent = parent_process()
    assert parent is not None, "started by multiprocessing"
    parent.join()
    os._exit(1)  # the other threads may be in code that nothing interrupts
