"""Runs nodes until a signal: one single-threaded executor per thread, exit code 0, no traceback.

The multi-threaded executor of these wheels starves subscriptions above 100 Hz and the events executor hangs,
so each node that must stay responsive gets a thread of its own.
"""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from sinew_nodes.base import SinewNode
from sinew_nodes.launch_runner.process import RESPAWN_VARIABLE
from sinew_policies.common.errors import SinewError

GRACE_S = 2.5
"""The process ends after this long whatever its threads do."""

BRING_UP_S = 20.0
"""A respawned node that nobody has configured by then may not hear the graph: DDS can leave a process that takes
the place of a killed one with a shared-memory port that its peers do not find. Another start helps."""


def run(make: Callable[[], Sequence[Node]], argv: Sequence[str] | None = None) -> int:
    """Builds the nodes, spins each in its own thread until SIGINT or SIGTERM, ends them, returns 0.

    Returns 1 when a node cannot be built or an executor thread dies; the message names it. Further signals
    during the end are ignored: the end is bounded by GRACE_S.
    """
    stop = threading.Event()
    failed: list[str] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    rclpy.init(args=list(argv) if argv is not None else None, signal_handler_options=SignalHandlerOptions.NO)
    try:
        nodes = list(make())
    except SinewError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        rclpy.try_shutdown()
        return 1
    threads = []
    executors = []
    for node in nodes:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executors.append(executor)

        def spin(executor: SingleThreadedExecutor = executor, node: Node = node) -> None:
            try:
                while not stop.is_set():
                    executor.spin_once(timeout_sec=0.5)
            except ExternalShutdownException:
                pass
            except Exception as error:
                traceback.print_exc()
                failed.append(f"node '{node.get_name()}' failed: {type(error).__name__}: {error}")
                stop.set()

        thread = threading.Thread(target=spin, name=f"spin-{node.get_name()}", daemon=True)
        threads.append(thread)
        thread.start()
    started = time.monotonic()
    respawned = RESPAWN_VARIABLE in os.environ
    while not stop.wait(0.5):  # a bare wait() would keep Python from seeing signals on some platforms
        if respawned and time.monotonic() - started > BRING_UP_S:
            respawned = False
            for node in nodes:
                if isinstance(node, SinewNode) and not node.was_asked:
                    failed.append(
                        f"node '{node.get_name()}' was started again, but nobody configured it within "
                        f"{BRING_UP_S:.0f} s; it ends so that it can be started anew"
                    )
                    stop.set()
    watchdog = threading.Timer(GRACE_S, lambda: os._exit(1 if failed else 0))
    watchdog.daemon = True
    watchdog.start()
    for executor in executors:
        executor.wake()
    for thread in threads:
        thread.join(timeout=1.0)
    for node in reversed(nodes):
        if isinstance(node, SinewNode):
            node.end()
    for line in failed:
        print(f"error: {line}", file=sys.stderr, flush=True)
    for executor, node in zip(executors, nodes, strict=True):
        executor.remove_node(node)
        node.destroy_node()  # says goodbye to the graph; otherwise peers miss us only after many seconds
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Daemon threads inside native libraries can crash the interpreter's own teardown; nothing is left to save.
    os._exit(1 if failed else 0)
