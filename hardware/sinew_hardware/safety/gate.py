"""The safety gate: every sample for an arm passes it, between arbitration and the driver.

Order of the checks (architecture rule 3): finite and of the right length → fresh → lease holder → latch →
position, velocity, acceleration and jerk against the LAST COMMAND → workspace and self-collision. NaN, wrong
length and jumps are rejected; small excess is clamped and counted; clamping that persists is a fault. After a
rejection or silence the output decelerates to hold. Not safety-rated: see docs.

Pure computation with injected time; call `command` or `tick` once per period and send what it returns.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sinew_hardware.interfaces import JointLimits
from sinew_hardware.safety.envelope import Breach
from sinew_hardware.safety.lease import HEARTBEAT_TTL_S, Lease, LeaseDesk, Priority
from sinew_hardware.safety.limiter import JointLimiter, Step
from sinew_policies.common.errors import CommandRejected
from sinew_policies.common.types import F64

Check = Callable[[F64], Breach | None]
"""What is wrong with joint angles (J,) beyond the limits of single joints; see `Envelope.breach`."""


@dataclass(frozen=True)
class GateConfig:
    period_s: float = 0.01
    max_age_s: float = 0.1  # of a command's stamp
    max_state_age_s: float = 0.1  # of the measured state
    position_slack_rad: float = 0.02  # commands this far beyond a position limit are clamped, farther rejected
    jump_rad: float = 0.05  # a command this far from where the last ones lead is rejected
    clamp_cycles: int = 20  # so many clamped samples in a row are a fault
    grace_ticks: int = 2  # a late source coasts so long before the arm decelerates
    idle_s: float = 0.1  # after a pause without calls the arm is taken to stand still
    resync_rad: float = 0.05  # after a pause, continue from the measured state if it is this far off
    forecast_slack_m: float = 0.005  # joints brake side by side, a path bends: the forecast is not exact
    tracking_rad: float = 0.5  # the arm this far from its command is out of control: latch
    still_rad_s: float = 0.05  # measured speed below which a reset is allowed


@dataclass(frozen=True)
class GateEvent:
    """Why a sample was altered, refused or the gate latched; `reason` is one machine-readable word."""

    reason: str
    message: str
    t_s: float


@dataclass(frozen=True)
class GateState:
    estopped: bool
    estop_reason: str
    lease: Lease | None
    passed: int
    clamped: int
    rejected: int
    silent: int  # ticks without a command
    last_event: GateEvent | None


@dataclass(frozen=True)
class GateOutput:
    """What to send now. `event` is None when the command went through unaltered."""

    q: F64  # (J,) rad
    event: GateEvent | None = None
    rejected: bool = False

    def require(self) -> F64:
        """The sample to send; raises CommandRejected when the command was refused."""
        if self.rejected and self.event is not None:
            raise CommandRejected(self.event.reason, self.event.message)
        return self.q


class Gate:
    """Not thread-safe: one control loop calls it; guard `trip` and `acquire` from other threads by a lock."""

    def __init__(
        self,
        limits: JointLimits,
        names: tuple[str, ...],
        config: GateConfig | None = None,
        *,
        check: Check | None = None,
    ) -> None:
        self._limits, self._names = limits, names
        self._config = config or GateConfig()
        self._check = check
        self._leases = LeaseDesk()
        self._limiter = JointLimiter(limits, self._config.period_s)
        self._measured: tuple[F64, F64, float] | None = None
        self._last_output_s: float | None = None
        self._estop_reason = ""
        self._passed = self._clamped = self._rejected = self._silent = 0
        self._clamped_in_row = self._silent_in_row = 0
        self._event: GateEvent | None = None

    @property
    def estopped(self) -> bool:
        return bool(self._estop_reason)

    @property
    def last_q(self) -> F64:
        """Last output (J,) rad."""
        return self._limiter.q

    @property
    def at_rest(self) -> bool:
        """Whether the outputs have come to rest."""
        return self._limiter.at_rest

    def state(self, now_s: float) -> GateState:
        return GateState(
            self.estopped,
            self._estop_reason,
            self._leases.current(now_s),
            self._passed,
            self._clamped,
            self._rejected,
            self._silent,
            self._event,
        )

    # -- lease and latch -------------------------------------------------------------------------------------

    def acquire(
        self, holder: str, priority: Priority, now_s: float, ttl_s: float | None = HEARTBEAT_TTL_S
    ) -> Lease:
        """As LeaseDesk.acquire; refused while the emergency stop is latched."""
        self._require_unlatched()
        return self._leases.acquire(holder, priority, now_s, ttl_s)

    def heartbeat(self, holder: str, now_s: float) -> None:
        self._leases.heartbeat(holder, now_s)

    def release(self, holder: str, now_s: float) -> bool:
        return self._leases.release(holder, now_s)

    def trip(self, reason: str, now_s: float) -> None:
        """Latches the emergency stop; the outputs decelerate to hold and every lease ends."""
        if not self.estopped:
            self._estop_reason = reason or "unknown"
            self._event = GateEvent("estop", f"emergency stop: {self._estop_reason}", now_s)
        self._leases.revoke()

    def reset(self, now_s: float) -> None:
        """Unlatches; motion needs a new lease. Raises CommandRejected unless the arm is measured at rest."""
        if self._measured is None or now_s - self._measured[2] > self._config.max_state_age_s:
            raise CommandRejected(
                "stale_state", "reset refused: no fresh arm state; check that the arm's driver runs"
            )
        q, dq, _ = self._measured
        worst = int(np.argmax(np.abs(dq)))
        if abs(dq[worst]) > self._config.still_rad_s:
            raise CommandRejected(
                "moving",
                f"reset refused: {self._names[worst]} moves at {dq[worst]:.3f} rad/s (allowed "
                f"{self._config.still_rad_s}); wait until the arm stands still",
            )
        self._estop_reason = ""
        self._clamped_in_row = 0
        self._leases.revoke()
        self._limiter.reset(q)
        self._last_output_s = None

    # -- samples ---------------------------------------------------------------------------------------------

    def observe(self, q: F64, dq: F64, now_s: float) -> None:
        """Newest measured state (J,); ignored when it is not finite, so that it soon counts as stale."""
        q, dq = np.asarray(q, np.float64), np.asarray(dq, np.float64)
        if q.shape != self._limits.lower.shape or dq.shape != q.shape:
            return
        if not (np.all(np.isfinite(q)) and np.all(np.isfinite(dq))):
            return
        if self._measured is None:
            self._limiter.reset(q)
        self._measured = (q.copy(), dq.copy(), now_s)
        if self._last_output_s is not None and now_s - self._last_output_s < self._config.idle_s:
            lag = float(np.max(np.abs(q - self._limiter.q)))
            if lag > self._config.tracking_rad:
                self.trip(f"the arm is {lag:.2f} rad away from its command", now_s)

    def command(
        self, q: F64, *, holder: str, stamp_s: float, now_s: float, dt_s: float | None = None
    ) -> GateOutput:
        """Judges joint positions (J,) rad stamped `stamp_s`; returns what to send in this period.

        `dt_s` is the time since the last output where the loop's clock differs from `now_s` (simulated time);
        it is taken as one period when left out. A refused command gives a sample of the deceleration to hold.
        """
        dt_s = self._begin(now_s, dt_s)
        try:
            target = self._well_formed(q)
            self._require_fresh(stamp_s, now_s)
            self._leases.require(holder, now_s)
            self._require_unlatched()
            self._require_plausible(target, dt_s)
            step, event = self._limited(target, dt_s, now_s)
            self._require_inside(step)
        except CommandRejected as error:
            self._rejected += 1
            self._clamped_in_row = 0
            self._event = GateEvent(error.reason, str(error), now_s)
            return self._send(self._limiter.brake(dt_s), dt_s, now_s, self._event, rejected=True)
        self._silent_in_row = 0
        self._leases.heartbeat(holder, now_s)
        output = self._send(step, dt_s, now_s, event)
        if event is None:
            self._passed += 1
            self._clamped_in_row = 0
        else:
            self._clamped += 1
            self._clamped_in_row += 1
            self._event = event
            if self._clamped_in_row >= self._config.clamp_cycles:
                self.trip(f"{self._clamped_in_row} samples in a row beyond limits: {event.message}", now_s)
        return output

    def tick(self, now_s: float, dt_s: float | None = None) -> GateOutput:
        """A period without a command: coasts for the grace ticks, then decelerates within limits and holds."""
        dt_s = self._begin(now_s, dt_s)
        self._silent += 1
        self._silent_in_row += 1
        self._clamped_in_row = 0
        coast = self._silent_in_row <= self._config.grace_ticks and not self.estopped
        step = self._limiter.coast(dt_s) if coast else self._limiter.brake(dt_s)
        return self._send(step, dt_s, now_s, None)

    def _begin(self, now_s: float, dt_s: float | None) -> float:
        """Time that this sample covers; a pause without calls means that the driver held the arm."""
        config = self._config
        last = self._last_output_s
        if last is None or now_s - last > config.idle_s:
            if self._measured is not None:
                q = self._measured[0]
                off = float(np.max(np.abs(q - self._limiter.q))) > config.resync_rad
                self._limiter.reset(q if off else self._limiter.q)
            return config.period_s
        # A loop that stutters must not buy speed: longer gaps than two periods count as two.
        return float(
            np.clip(config.period_s if dt_s is None else dt_s, 0.5 * config.period_s, 2.0 * config.period_s)
        )

    def _send(
        self, step: Step, dt_s: float, now_s: float, event: GateEvent | None, *, rejected: bool = False
    ) -> GateOutput:
        self._limiter.commit(step, dt_s)
        self._last_output_s = now_s
        return GateOutput(step.q.copy(), event, rejected)

    def _well_formed(self, q: F64) -> F64:
        try:
            target = np.asarray(q, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise CommandRejected("malformed", f"joint command is not an array of numbers: {error}") from error
        if target.shape != self._limits.lower.shape:
            raise CommandRejected(
                "length",
                f"joint command has shape {target.shape}; expected ({len(self._names)},) for {self._names}",
            )
        bad = np.flatnonzero(~np.isfinite(target))
        if len(bad):
            name = self._names[int(bad[0])]
            raise CommandRejected(
                "not_finite", f"joint command holds {target[bad[0]]} for {name}; expected finite angles in rad"
            )
        return target

    def _require_fresh(self, stamp_s: float, now_s: float) -> None:
        config = self._config
        age = now_s - stamp_s
        if not -config.max_age_s <= age <= config.max_age_s:
            raise CommandRejected(
                "stale", f"joint command is {age:.3f} s old (allowed {config.max_age_s}); check clocks and load"
            )
        if self._measured is None or now_s - self._measured[2] > config.max_state_age_s:
            raise CommandRejected(
                "stale_state", f"no arm state within {config.max_state_age_s} s; check that the arm's driver runs"
            )

    def _require_unlatched(self) -> None:
        if self.estopped:
            raise CommandRejected(
                "estop", f"emergency stop is latched ({self._estop_reason}); reset it when the cause is gone"
            )

    def _require_plausible(self, target: F64, dt_s: float) -> None:
        config, limits = self._config, self._limits
        over = np.maximum(limits.lower - target, target - limits.upper)
        j = int(np.argmax(over))
        if over[j] > config.position_slack_rad:
            raise CommandRejected(
                "position",
                f"{self._names[j]} = {target[j]:.3f} rad; allowed {limits.lower[j]:.3f} to {limits.upper[j]:.3f}",
            )
        jump = np.abs(target - self._limiter.q - self._limiter.v * dt_s)
        j = int(np.argmax(jump))
        if jump[j] > config.jump_rad:
            raise CommandRejected(
                "jump",
                f"{self._names[j]} jumps by {jump[j]:.3f} rad to {target[j]:.3f} (allowed {config.jump_rad}); "
                "start from the last command and send jerk-limited samples",
            )

    def _limited(self, target: F64, dt_s: float, now_s: float) -> tuple[Step, GateEvent | None]:
        step = self._limiter.follow(target, dt_s)
        if self._limiter.feasible(step, dt_s):
            return step, None
        step = self._limiter.clamp(target, dt_s)
        j = int(np.argmax(np.abs(step.q - target)))
        message = f"{self._names[j]} = {target[j]:.4f} rad was limited to {step.q[j]:.4f}"
        return step, GateEvent("clamped", message, now_s)

    def _require_inside(self, step: Step) -> None:
        """Checks the sample and where the arm would come to rest if it braked after it: seeing a wall when
        one is at it is too late.
        """
        if self._check is None:
            return
        breach = self._check(step.q)
        if breach is None:
            breach = self._check(self._limiter.stop_reach(step))
            if breach is None or breach.depth_m <= self._config.forecast_slack_m:
                return
        present = self._check(self._limiter.q)
        # An arm that already stands outside may come back, otherwise nothing could ever free it.
        if present is None or present.reason != breach.reason or breach.depth_m > present.depth_m:
            raise CommandRejected(breach.reason, breach.message)
