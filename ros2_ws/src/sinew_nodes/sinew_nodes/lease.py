"""Who may command: one holder at a time, a higher priority takes the lease from a lower one. No ROS in here."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from sinew_policies.common.errors import CommandRejected


class Priority(IntEnum):
    POLICY = 1
    RECOVERY = 2
    HUMAN = 3
    ESTOP = 4


@dataclass(frozen=True)
class Lease:
    holder: str
    priority: Priority
    ends_mono_ns: int | None  # None: until released


class LeaseBook:
    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._lease: Lease | None = None

    def current(self) -> Lease | None:
        with self._lock:
            return self._valid()

    def acquire(self, holder: str, priority: int, duration_s: float = 0.0) -> Lease:
        """The holder itself renews; others need a higher priority. Raises CommandRejected naming the holder."""
        if not holder.strip():
            raise CommandRejected("lease", "lease holder has no name; give the node's name")
        if priority not in list(Priority):
            known = ", ".join(f"{p.value} {p.name.lower()}" for p in Priority)
            raise CommandRejected("lease", f"lease priority {priority} is unknown; expected one of {known}")
        if not 0.0 <= duration_s < 1e6:
            raise CommandRejected("lease", f"lease duration {duration_s} s; expected 0 (until released) or more")
        with self._lock:
            now = self._valid()
            if now is not None and now.holder != holder and now.priority >= priority:
                raise CommandRejected(
                    "lease",
                    f"'{now.holder}' holds the lease at priority {now.priority.name.lower()}; '{holder}' asked at "
                    f"{Priority(priority).name.lower()}; release it there or ask at a higher priority",
                )
            ends = self._clock_ns() + int(duration_s * 1e9) if duration_s > 0.0 else None
            self._lease = Lease(holder, Priority(priority), ends)
            return self._lease

    def release(self, holder: str) -> bool:
        """Whether `holder` had it."""
        with self._lock:
            now = self._valid()
            if now is None or now.holder != holder:
                return False
            self._lease = None
            return True

    def clear(self) -> None:
        with self._lock:
            self._lease = None

    def _valid(self) -> Lease | None:
        lease = self._lease
        if lease is not None and lease.ends_mono_ns is not None and self._clock_ns() >= lease.ends_mono_ns:
            self._lease = lease = None
        return lease
