"""One lease: the right to command the robot, held by one source at a time.

Priorities: emergency stop over human over recovery over policy. A higher priority takes the lease from a
lower one; an equal or lower one is refused with the holder's name. A lease ends when it is released, when its
holder stays silent for its time to live, or when the gate revokes it. Time is the caller's monotonic clock.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from sinew_policies.common.errors import CommandRejected

HEARTBEAT_TTL_S = 0.3  # three missed beats of a 10 Hz heartbeat


class Priority(IntEnum):
    """Values as in the AcquireLease service."""

    POLICY = 1
    RECOVERY = 2
    HUMAN = 3
    ESTOP = 4


@dataclass(frozen=True)
class Lease:
    holder: str
    priority: Priority
    ttl_s: float | None  # None: until released
    renewed_s: float

    def expired(self, now_s: float) -> bool:
        return self.ttl_s is not None and now_s - self.renewed_s > self.ttl_s


class LeaseDesk:
    """Keeps at most one lease. Not thread-safe; the gate's caller serialises."""

    def __init__(self) -> None:
        self._lease: Lease | None = None

    def current(self, now_s: float) -> Lease | None:
        """The valid lease, None when nobody holds one."""
        if self._lease is not None and self._lease.expired(now_s):
            self._lease = None
        return self._lease

    def acquire(
        self, holder: str, priority: Priority, now_s: float, ttl_s: float | None = HEARTBEAT_TTL_S
    ) -> Lease:
        """Takes or renews the lease. `ttl_s` None holds it until released, for goals the server itself runs.

        Raises CommandRejected ('lease') when another holder of at least this priority has it.
        """
        if not holder:
            raise CommandRejected("lease", "a lease needs a holder's name; got an empty one")
        if ttl_s is not None and not ttl_s > 0.0:
            raise CommandRejected("lease", f"lease of '{holder}' asks for {ttl_s} s; expected a positive time")
        held = self.current(now_s)
        if held is not None and held.holder != holder and held.priority >= priority:
            raise CommandRejected(
                "lease",
                f"'{held.holder}' holds the lease with priority {held.priority.name.lower()}, "
                f"'{holder}' asked with {priority.name.lower()}; wait for its release or ask with a higher one",
            )
        self._lease = Lease(holder, Priority(priority), ttl_s, now_s)
        return self._lease

    def heartbeat(self, holder: str, now_s: float) -> None:
        """Renews the lease of `holder`; raises CommandRejected when it does not hold one any more."""
        self.require(holder, now_s)
        assert self._lease is not None
        self._lease = replace(self._lease, renewed_s=now_s)

    def require(self, holder: str, now_s: float) -> Lease:
        """The lease of `holder`; raises CommandRejected ('lease') naming who has it."""
        held = self.current(now_s)
        if held is None:
            raise CommandRejected("lease", f"'{holder}' commands without a lease; acquire one first")
        if held.holder != holder:
            raise CommandRejected(
                "lease", f"'{holder}' commands but '{held.holder}' holds the lease; acquire it first"
            )
        return held

    def release(self, holder: str, now_s: float) -> bool:
        """Gives the lease back; False when `holder` did not have it."""
        held = self.current(now_s)
        if held is None or held.holder != holder:
            return False
        self._lease = None
        return True

    def revoke(self) -> None:
        self._lease = None
