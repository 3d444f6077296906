"""Drives the position servos of a simulated arm between two commands, as an industrial controller does."""

import numpy as np

from sinew_policies.common.types import F64


class ArmServo:
    """Turns joint commands at the control rate into `ctrl` at the physics rate.

    The servo torque is kp·(ctrl − q) − kv·dq, so a plain ctrl = command lags by kv/kp·dq plus the age of the
    command. Here ctrl extrapolates the last command with its velocity and adds kv/kp·dq, which leaves only
    the lag of acceleration and friction. After one period without a new command it holds the last one.
    """

    def __init__(self, kp: F64, kv: F64, period_s: float) -> None:
        self._lead_s = kv / kp
        self._period_s = period_s
        self._q: F64 | None = None
        self._dq = np.zeros_like(kp)

    def reset(self, q: F64) -> None:
        """Holds q (J,) rad from rest."""
        self._q = np.array(q, dtype=np.float64)
        self._dq = np.zeros_like(self._q)

    def command(self, q: F64) -> None:
        """New command (J,) rad; one per period."""
        new = np.array(q, dtype=np.float64)
        self._dq = np.zeros_like(new) if self._q is None else (new - self._q) / self._period_s
        self._q = new

    def ctrl(self, age_s: float) -> F64:
        """Actuator input (J,) at `age_s` seconds after the last command."""
        if self._q is None:
            raise ValueError("ArmServo.ctrl before reset or command: there is nothing to hold")
        if age_s >= self._period_s:
            return self._q.copy()
        return self._q + self._dq * (age_s + self._lead_s)
