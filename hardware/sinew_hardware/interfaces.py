"""Device protocols. Simulated and real devices implement the same ones; nodes know nothing else.

One life for all: configure (constructor, no I/O) → connect → activate → deactivate → close, plus health()
and recover(). Ages are computed from the monotonic stamp only; `stamp_ns` is ROS time.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np

from sinew_policies.common.types import F64, CameraFrame, CameraModel


class DeviceState(Enum):
    DISCONNECTED = "disconnected"
    INACTIVE = "inactive"
    ACTIVE = "active"
    FAULT = "fault"


@dataclass(frozen=True)
class Health:
    state: DeviceState
    ok: bool
    message: str = ""


@dataclass(frozen=True)
class ArmState:
    seq: int
    stamp_ns: int
    t_mono_ns: int
    q: F64  # (J,) rad
    dq: F64  # (J,) rad/s
    tau: F64  # (J,) Nm, NaN where the device does not measure it


@dataclass(frozen=True)
class GripperState:
    seq: int
    stamp_ns: int
    t_mono_ns: int
    width_m: float  # total opening
    speed_mps: float
    force_n: float  # commanded or measured grip force


@dataclass(frozen=True)
class JointLimits:
    """Per-joint limits, shape (J,) each; rad, rad/s, rad/s², rad/s³, Nm."""

    lower: F64
    upper: F64
    velocity: F64
    acceleration: F64
    jerk: F64
    effort: F64

    def __post_init__(self) -> None:
        if not np.all(self.lower < self.upper):
            raise ValueError("joint limits: every lower limit must be below its upper limit")


class Device(Protocol):
    @property
    def name(self) -> str: ...
    def connect(self, timeout_s: float = 5.0) -> None: ...
    def activate(self) -> None: ...
    def deactivate(self) -> None: ...
    def close(self) -> None: ...
    def health(self) -> Health: ...
    def recover(self) -> None: ...


@runtime_checkable
class Arm(Device, Protocol):
    @property
    def joint_names(self) -> tuple[str, ...]: ...
    @property
    def limits(self) -> JointLimits: ...
    @property
    def period_s(self) -> float:
        """Period at which `command` is expected, e.g. 0.01."""
        ...

    def read(self) -> ArmState: ...
    def command(self, q: F64) -> F64:
        """Sends joint positions (J,); returns what was really sent."""
        ...

    def hold(self) -> None:
        """Stops within limits and keeps torque on."""
        ...


@runtime_checkable
class Gripper(Device, Protocol):
    @property
    def max_width_m(self) -> float: ...
    @property
    def max_force_n(self) -> float: ...
    def read(self) -> GripperState: ...
    def command(self, width_m: float, speed_mps: float, force_n: float) -> float:
        """Moves towards total opening `width_m`; returns the width really commanded."""
        ...

    def hold(self) -> None: ...


@runtime_checkable
class Camera(Device, Protocol):
    @property
    def model(self) -> CameraModel: ...
    @property
    def optical_frame(self) -> str: ...
    @property
    def rate_hz(self) -> float: ...
    def latest(self, max_age_s: float) -> CameraFrame:
        """Newest frame; raises Stale when it is older than `max_age_s`."""
        ...

    def wait(self, after_seq: int, timeout_s: float) -> CameraFrame:
        """Blocks for the first frame with seq > after_seq; raises DeviceTimeout."""
        ...
