"""The simulated arm and gripper: devices over a `World` in the same process."""

import math
import time
from abc import ABC, abstractmethod

import numpy as np

from sinew_hardware.interfaces import ArmState, DeviceState, GripperState, Health, JointLimits
from sinew_hardware.models import panda
from sinew_hardware.models.panda_hand import FORCE_RANGE_N, MAX_WIDTH_M
from sinew_policies.common.errors import CommandRejected, DeviceError, NotConnected
from sinew_policies.common.types import F64
from sinew_sim.cell.config import CONTROL_PERIOD_S
from sinew_sim.cell.drives import ArmDrive, GripperDrive
from sinew_sim.cell.world import Drive, World


class _SimActuator(ABC):
    """configure → connect → activate → deactivate → close, for a device that cannot break by itself."""

    def __init__(self, world: World, drive: Drive, name: str) -> None:
        self._world = world
        self._name = name
        self._state = DeviceState.DISCONNECTED
        self._to_attach: Drive | None = drive

    @property
    def name(self) -> str:
        return self._name

    @abstractmethod
    def hold(self) -> None: ...

    def connect(self, timeout_s: float = 5.0) -> None:
        if self._to_attach is not None:
            self._world.add_drive(self._to_attach)
            self._to_attach = None
        self._state = DeviceState.INACTIVE

    def activate(self) -> None:
        self._need_connection()
        self._state = DeviceState.ACTIVE

    def deactivate(self) -> None:
        if self._state is DeviceState.ACTIVE:
            self.hold()
            self._state = DeviceState.INACTIVE

    def close(self) -> None:
        if self._to_attach is None:
            self.hold()  # the motors stay on, whoever leaves
        self._state = DeviceState.DISCONNECTED

    def recover(self) -> None:
        self._need_connection()

    def health(self) -> Health:
        connected = self._state is not DeviceState.DISCONNECTED
        return Health(self._state, connected, "" if connected else f"'{self._name}' is not connected")

    def _need_connection(self) -> None:
        if self._state is DeviceState.DISCONNECTED:
            raise NotConnected(f"simulated device '{self._name}' is not connected; call connect first")

    def _need_active(self) -> None:
        self._need_connection()
        if self._state is not DeviceState.ACTIVE:
            raise DeviceError(
                f"simulated device '{self._name}' is {self._state.value}; activate it before commanding"
            )


class SimArm(_SimActuator):
    """Position-controlled Panda. Commands take effect at the next 10 ms tick of simulated time."""

    def __init__(self, world: World, name: str = "arm") -> None:
        self._drive = ArmDrive()
        super().__init__(world, self._drive, name)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return panda.JOINT_NAMES

    @property
    def limits(self) -> JointLimits:
        return panda.LIMITS

    @property
    def period_s(self) -> float:
        return CONTROL_PERIOD_S

    def read(self) -> ArmState:
        self._need_connection()
        with self._world.lock:
            data = self._world.data
            return ArmState(
                seq=self._world.steps,
                stamp_ns=self._world.time_ns,
                t_mono_ns=time.monotonic_ns(),
                q=data.qpos[self._drive.qpos].copy(),
                dq=data.qvel[self._drive.dof].copy(),
                tau=data.qfrc_actuator[self._drive.dof].copy(),
            )

    def command(self, q: F64) -> F64:
        """Joint goal (7,) rad for the next tick; returns it clipped to the joint range.

        CommandRejected for a wrong length or a value that is not finite.
        """
        self._need_active()
        goal = np.asarray(q, np.float64)
        if goal.shape != (7,):
            raise CommandRejected(
                "length", f"arm command has shape {goal.shape}; expected 7 joint positions in rad"
            )
        if not np.isfinite(goal).all():
            raise CommandRejected("not_finite", f"arm command {goal.tolist()} is not finite; nothing was sent")
        with self._world.lock:
            return self._drive.command(goal)

    def hold(self) -> None:
        """Brakes within the acceleration limits and keeps torque on."""
        with self._world.lock:
            self._drive.hold()


class SimGripper(_SimActuator):
    """Force-controlled Panda hand; `width` is the total opening, `force` that of each finger."""

    def __init__(self, world: World, name: str = "gripper") -> None:
        self._drive = GripperDrive()
        super().__init__(world, self._drive, name)

    @property
    def max_width_m(self) -> float:
        return MAX_WIDTH_M

    @property
    def max_force_n(self) -> float:
        return FORCE_RANGE_N[1]

    def read(self) -> GripperState:
        self._need_connection()
        with self._world.lock:
            data = self._world.data
            return GripperState(
                seq=self._world.steps,
                stamp_ns=self._world.time_ns,
                t_mono_ns=time.monotonic_ns(),
                width_m=float(data.ten_length[self._drive.tendon]),
                speed_mps=float(data.ten_velocity[self._drive.tendon]),
                force_n=abs(float(data.ctrl[self._drive.ctrl])),
            )

    def command(self, width_m: float, speed_mps: float, force_n: float) -> float:
        """Moves to a total opening; returns it clipped to 0..0.08 m. CommandRejected if a value is not finite."""
        self._need_active()
        if not all(map(math.isfinite, (width_m, speed_mps, force_n))):
            raise CommandRejected(
                "not_finite",
                f"gripper command width {width_m} m, speed {speed_mps} m/s, force {force_n} N is not finite",
            )
        with self._world.lock:
            return self._drive.command(width_m, speed_mps, force_n)

    def hold(self) -> None:
        """Keeps gripping what it grips; else stops the fingers where they are."""
        with self._world.lock:
            self._drive.hold(self._world.data)
