"""Tells within milliseconds that a node's process on this machine has died.

Every node of sinew puts its process id and host into its diagnostics. For nodes of this host the watch opens a
pidfd, which the kernel makes readable the moment the process ends; DDS itself would notice after many seconds.
Nodes of other hosts, and active nodes that hang, are noticed when their diagnostics stay away for
`silent_after_s`; a node that is just being configured may be busy for longer.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from sinew_nodes import qos, topics

PID_KEY = "pid"
HOST_KEY = "host"
STATE_KEY = "state"
_POLL_S = 0.02


@dataclass
class _Watched:
    pid: int
    fd: int  # -1: on another host, or gone
    seen_mono: float
    alive: bool
    active: bool


class NodeWatch:
    """Watches the nodes it has heard of. `on_lost(name)` is called from the watching thread."""

    def __init__(self, node: Node, on_lost: Callable[[str], None], *, silent_after_s: float = 10.0) -> None:
        self._on_lost = on_lost
        self._silent_after_s = silent_after_s
        self._nodes: dict[str, _Watched] = {}
        self._lock = threading.Condition()
        self._closing = False
        self._host = socket.gethostname()
        self._log = node.get_logger()
        self._node = node
        self._subscription = node.create_subscription(
            DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.DIAGNOSTICS
        )
        self._thread = threading.Thread(target=self._run, name="node-watch", daemon=True)
        self._thread.start()

    def is_alive(self, name: str) -> bool:
        """False while a node that was once seen is gone; unknown nodes count as alive."""
        with self._lock:
            watched = self._nodes.get(name)
            return watched is None or watched.alive

    def is_active(self, name: str) -> bool:
        """Whether the node lives and says that it is active; unknown nodes count as active."""
        with self._lock:
            watched = self._nodes.get(name)
            return watched is None or (watched.alive and watched.active)

    def knows(self, name: str) -> bool:
        """Whether the node has ever been heard of."""
        with self._lock:
            return name in self._nodes

    def lost(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(sorted(n for n, w in self._nodes.items() if not w.alive))

    def wait_until_back(self, name: str, timeout_s: float) -> bool:
        """True once `name` is heard of again; False after `timeout_s`."""
        with self._lock:
            return self._lock.wait_for(
                lambda: self._closing or (name in self._nodes and self._nodes[name].alive), timeout_s
            )

    def close(self) -> None:
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join(timeout=1.0)
        with self._lock:
            for watched in self._nodes.values():
                _close(watched.fd)
            self._nodes.clear()
        self._node.destroy_subscription(self._subscription)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {v.key: v.value for v in status.values}
            if PID_KEY in values:
                self._heard(
                    status.name.split(":")[0],
                    int(values[PID_KEY]),
                    values.get(HOST_KEY, ""),
                    values.get(STATE_KEY) == "active",
                )

    def _heard(self, name: str, pid: int, host: str, active: bool) -> None:
        now = time.monotonic()
        with self._lock:
            known = self._nodes.get(name)
            if known is not None and known.pid == pid:
                known.seen_mono, known.active = now, active
                if known.fd >= 0 or host != self._host:
                    known.alive = True
                    self._lock.notify_all()
                return
            fd = _open_pid(pid) if host == self._host else -1
            if host == self._host and fd < 0:
                return  # a late message of a process that has already ended
            if known is not None:
                _close(known.fd)
            self._nodes[name] = _Watched(pid, fd, now, True, active)
            self._lock.notify_all()

    def _run(self) -> None:
        while not self._closing:
            with self._lock:
                fds = {w.fd: n for n, w in self._nodes.items() if w.alive and w.fd >= 0}
            ended = select.select(list(fds), [], [], _POLL_S)[0] if fds else []
            if not fds:
                with self._lock:
                    self._lock.wait_for(lambda: self._closing or bool(self._nodes), 0.2)
            lost = [fds[fd] for fd in ended]
            now = time.monotonic()
            with self._lock:
                for name, watched in self._nodes.items():
                    silent = now - watched.seen_mono > self._silent_after_s
                    if watched.alive and silent and (watched.active or watched.fd < 0):
                        lost.append(name)
                for name in set(lost):
                    watched = self._nodes[name]
                    watched.alive = False
                    if watched.fd in ended:
                        _close(watched.fd)
                        watched.fd = -1
            for name in sorted(set(lost)):
                self._log.error(f"node {name} (process {self._nodes[name].pid}) is gone")
                self._on_lost(name)


def _open_pid(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
