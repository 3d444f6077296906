"""Runs a plan in one thread: output, respawn, required processes, timers, and a shutdown without leftovers."""

import heapq
import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from types import FrameType
from typing import IO

from sinew_nodes.launch_runner.console import Console, describe_exit
from sinew_nodes.launch_runner.plan import Action, ProcessSpec, Say, Shutdown, Timer
from sinew_nodes.launch_runner.process import Child

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ESCALATION = ((0.0, signal.SIGINT), (1.5, signal.SIGTERM), (2.7, signal.SIGKILL))
"""Seconds after the start of the shutdown, and what is then sent to those still alive. All is over within 5 s."""


class Supervisor:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._children: list[Child] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []  # heap of (monotonic time, order, call)
        self._order = count()
        self._numbers = count(1)
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._stop_request: signal.Signals | None = None
        self._code = 0

    def run(self, actions: Sequence[Action]) -> int:
        """Runs until every process has ended. 0: stopped on request, or all ended well."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        old_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        old = {number: signal.signal(number, self._on_signal) for number in (*_STOP_SIGNALS, signal.SIGCHLD)}
        self._selector.register(wake_read, selectors.EVENT_READ)
        try:
            self._perform(actions)
            while self._children or (self._due and not self._stopping):
                self._turn(wake_read)
        finally:
            for child in self._children:
                child.send(signal.SIGKILL)
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_wakeup)
            self._selector.close()
            os.close(wake_read)
            os.close(wake_write)
        return self._code

    def _turn(self, wake_read: int) -> None:
        timeout_s = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
        for key, _ in self._selector.select(timeout_s):
            if key.fd == wake_read:
                while _drain(wake_read):
                    pass
            else:
                child, pipe = key.data
                self._forward(child, pipe)
        if self._stop_request is not None or self._console.closed:
            name = self._stop_request.name if self._stop_request is not None else "closed output"
            self._stop_request = None
            self._shut_down(name)
        for child in [c for c in self._children if c.poll() is not None]:
            self._ended(child)
        while self._due and self._due[0][0] <= time.monotonic():
            heapq.heappop(self._due)[2]()

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if self._stopping:
                return
            match action:
                case ProcessSpec():
                    self._start(action, f"{action.name}-{next(self._numbers)}", 0)
                case Say(text):
                    self._console.note(text)
                case Shutdown(reason):
                    self._shut_down(reason)
                case Timer(period_s, inner):
                    self._after(period_s, partial(self._perform, inner))

    def _start(self, spec: ProcessSpec, origin: str, tries: int) -> None:
        if self._stopping:
            return
        child = Child(spec, origin, tries)
        self._children.append(child)
        for pipe in child.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, (child, pipe))
        self._console.note(f"{origin} started, process {child.popen.pid}")

    def _forward(self, child: Child, pipe: IO[bytes]) -> bool:
        lines, is_open = child.read_lines(pipe)
        for line in lines:
            self._console.line(child.origin, line, child.shows(pipe))
        if not is_open:
            self._selector.unregister(pipe)
            pipe.close()
        return bool(lines) and is_open

    def _ended(self, child: Child) -> None:
        code = child.poll() or 0
        self._children.remove(child)
        child.sweep()
        for pipe in child.pipes:
            while not pipe.closed and self._forward(child, pipe):
                pass
            if not pipe.closed:
                self._selector.unregister(pipe)
                pipe.close()
        if self._stopping:
            self._console.note(f"{child.origin} stopped ({describe_exit(code)})")
        elif child.spec.required:
            if code:
                self._code = 1
                how = f"{describe_exit(code)}; {child.spec.where}"
                self._console.error(f"required process {child.origin} died ({how}); stopping the rest")
            self._shut_down(f"{child.origin} has ended")
        elif child.spec.respawn and (
            child.tries < child.spec.respawn_max_retries or child.spec.respawn_max_retries < 0
        ):
            delay_s = child.spec.respawn_delay_s
            self._console.error(f"{child.origin} ended ({describe_exit(code)}); starting it again in {delay_s:g} s")
            self._after(delay_s, partial(self._start, child.spec, child.origin, child.tries + 1))
        elif code:
            self._code = 1
            self._console.error(f"{child.origin} died ({describe_exit(code)}; {child.spec.where})")
        else:
            self._console.note(f"{child.origin} finished")

    def _shut_down(self, reason: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._console.note(f"stopping {len(self._children)} processes: {reason}")
        self._due.clear()
        for delay_s, number in _ESCALATION:
            self._after(delay_s, partial(self._signal_all, number))

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if number is not signal.SIGINT:
                self._console.note(f"{child.origin} still runs: {number.name}")
            child.send(child.stop_signal() if number is signal.SIGINT else number)

    def _after(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), call))

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            # A second signal changes nothing: the shutdown under way already escalates by itself.
            self._stop_request = signal.Signals(number)
            if not self._stopping:
                self._code = 0


def _drain(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return b""
