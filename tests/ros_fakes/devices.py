"""Ideal devices in real time for the node tests: the arm is where it was told to be, the fingers move evenly."""

import threading
import time

import numpy as np

from sinew_hardware.interfaces import ArmState, DeviceState, GripperState, Health, JointLimits
from sinew_hardware.models.panda import HOME_Q, JOINT_NAMES, LIMITS
from sinew_policies.common.errors import NotConnected
from sinew_policies.common.types import F64, CameraFrame, CameraModel


class Life:
    def __init__(self) -> None:
        self.state = DeviceState.DISCONNECTED
        self.fault: Exception | None = None

    @property
    def name(self) -> str:
        return type(self).__name__

    def connect(self, timeout_s: float = 5.0) -> None:
        if self.fault is not None:
            raise self.fault
        self.state = DeviceState.INACTIVE

    def activate(self) -> None:
        self.state = DeviceState.ACTIVE

    def deactivate(self) -> None:
        self.state = DeviceState.INACTIVE

    def close(self) -> None:
        self.state = DeviceState.DISCONNECTED

    def recover(self) -> None:
        self.connect()

    def health(self) -> Health:
        return Health(self.state, self.fault is None, str(self.fault or ""))


class FakeArm(Life):
    """`log` holds (time, q) of every command; `blocked` makes it stay where it is."""

    joint_names = JOINT_NAMES
    limits: JointLimits = LIMITS
    period_s = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.q: F64 = HOME_Q.copy()
        self._dq: F64 = np.zeros(7)
        self._t = time.monotonic()
        self._seq = 0
        self.blocked = False
        self.holds = 0
        self.log: list[tuple[float, F64]] = []

    def read(self) -> ArmState:
        if self.fault is not None:
            raise self.fault
        if self.state is DeviceState.DISCONNECTED:
            raise NotConnected("fake arm is not connected")
        self._seq += 1
        still = time.monotonic() - self._t > 0.03
        dq = np.zeros(7) if still else self._dq
        return ArmState(self._seq, time.time_ns(), time.monotonic_ns(), self.q.copy(), dq.copy(), np.zeros(7))

    def command(self, q: F64) -> F64:
        assert self.state is DeviceState.ACTIVE
        now = time.monotonic()
        self.log.append((now, q.copy()))
        if not self.blocked:
            self._dq = (q - self.q) / self.period_s
            self.q = q.copy()
        self._t = now
        return q.copy()

    def hold(self) -> None:
        self.holds += 1


class FakeGripper(Life):
    """Moves at the commanded speed and stops at `object_m`, as if something were between the fingers."""

    max_width_m = 0.08
    max_force_n = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.width_m = 0.08
        self.object_m = 0.0
        self.goal_m = 0.08
        self.speed_mps = 0.1
        self.force_n = 0.0
        self.commands: list[tuple[float, float, float]] = []
        self._t = time.monotonic()
        self._seq = 0

    def read(self) -> GripperState:
        now = time.monotonic()
        dt, self._t = now - self._t, now
        step = float(np.clip(self.goal_m - self.width_m, -self.speed_mps * dt, self.speed_mps * dt))
        before = self.width_m
        self.width_m = max(self.width_m + step, self.object_m)
        self._seq += 1
        speed = (self.width_m - before) / max(dt, 1e-6)
        return GripperState(self._seq, time.time_ns(), time.monotonic_ns(), self.width_m, speed, self.force_n)

    def command(self, width_m: float, speed_mps: float, force_n: float) -> float:
        self.commands.append((width_m, speed_mps, force_n))
        self.goal_m, self.speed_mps, self.force_n = width_m, speed_mps, force_n
        return width_m

    def hold(self) -> None:
        self.goal_m = self.width_m


class FakeCamera(Life):
    """Hands out what `show` is given."""

    model = CameraModel(64, 48, 60.0, 60.0, 31.5, 23.5)
    optical_frame = "fake_optical_frame"
    rate_hz = 20.0

    def __init__(self) -> None:
        super().__init__()
        self._arrived = threading.Condition()
        self._frame: CameraFrame | None = None
        self.recoveries = 0

    def recover(self) -> None:
        self.recoveries += 1
        super().recover()

    def show(self, seq: int, stamp_ns: int) -> None:
        color = np.full((48, 64, 3), seq % 256, np.uint8)
        depth = np.full((48, 64), 0.5, np.float32)
        with self._arrived:
            self._frame = CameraFrame(
                seq, stamp_ns, time.monotonic_ns(), self.model, color, depth, self.optical_frame
            )
            self._arrived.notify_all()

    def latest(self, max_age_s: float) -> CameraFrame:
        return self.wait(-1, max_age_s)

    def wait(self, after_seq: int, timeout_s: float) -> CameraFrame:
        from sinew_policies.common.errors import DeviceTimeout

        with self._arrived:
            if self.fault is not None:
                raise self.fault
            fresh = self._arrived.wait_for(
                lambda: self._frame is not None and self._frame.seq > after_seq, timeout_s
            )
            if not fresh or self._frame is None:
                raise DeviceTimeout(f"fake camera: no frame after {after_seq} within {timeout_s} s")
            return self._frame
