"""The one place that steps physics. Everything else reads the state or leaves commands with a drive."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np

from sinew_policies.common.errors import DeviceTimeout
from sinew_policies.common.types import F64
from sinew_sim.cell.build import CellManifest
from sinew_sim.cell.config import CONTROL_PERIOD_S
from sinew_sim.cell.layout import in_bin
from sinew_sim.cell.pacing import Pacer

FELL_BELOW_Z_M = -0.05


class Drive(Protocol):
    """Turns commands into `data.ctrl`; called with the world's lock held."""

    def bind(self, model: mujoco.MjModel) -> None:
        """Looks its actuators up; called again when the model is replaced."""
        ...

    def reset(self, data: mujoco.MjData) -> None:
        """The state jumped: forget commands, hold where the robot is."""
        ...

    def tick(self, data: mujoco.MjData, time_ns: int) -> None:
        """A control period begins."""
        ...

    def substep(self, data: mujoco.MjData, dt_s: float) -> None:
        """One physics step follows: write ctrl."""
        ...


@dataclass(frozen=True)
class ObjectTruth:
    """Where an object really is; for evaluation and the demo's count, never for the policy."""

    body: str
    name: str
    family: str
    position_m: F64  # (3,) of its origin in base_link
    quat_wxyz: F64  # (4,)
    place: str  # "bin", "table" (or in the hand above it) or "fell"


class World:
    """Owns MjModel and MjData. Thread-safe; `lock` guards every access to `model` and `data`.

    Time is the number of physics steps since the start, so it is exact and never runs backwards, not even
    on `reset`.
    """

    def __init__(self, model: mujoco.MjModel, manifest: CellManifest) -> None:
        self.lock = threading.RLock()
        self._drives: list[Drive] = []
        self._listeners: list[Callable[[World], None]] = []
        self._steps = 0
        self._paused = False
        self._stepped = threading.Condition(self.lock)
        self._pacer = Pacer(CONTROL_PERIOD_S)
        self.generation = 0
        self._take(model, manifest)

    # -- what it is

    @property
    def model(self) -> mujoco.MjModel:
        return self._model

    @property
    def data(self) -> mujoco.MjData:
        """Only under `lock`."""
        return self._data

    @property
    def manifest(self) -> CellManifest:
        return self._manifest

    @property
    def time_ns(self) -> int:
        """Simulated time since the world began."""
        return self._steps * self._dt_ns

    @property
    def steps(self) -> int:
        return self._steps

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def real_time_factor(self) -> float:
        """Simulated per real seconds over the last seconds of `run_realtime`; NaN before there are any."""
        return self._pacer.factor

    # -- how it changes

    def add_drive(self, drive: Drive) -> None:
        with self.lock:
            drive.bind(self._model)
            drive.reset(self._data)
            self._drives.append(drive)

    def add_listener(self, listener: Callable[["World"], None]) -> None:
        """Called after every control tick, reset and replacement, in the stepping thread, lock held: be quick."""
        with self.lock:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[["World"], None]) -> None:
        with self.lock:
            self._listeners.remove(listener)

    def step(self, n: int = 1) -> None:
        """Steps physics n times (2 ms each), paused or not; control ticks fall on multiples of 10 ms."""
        with self.lock:
            for _ in range(n):
                if self._steps % self._substeps == 0:
                    for drive in self._drives:
                        drive.tick(self._data, self.time_ns)
                for drive in self._drives:
                    drive.substep(self._data, self._dt_s)
                mujoco.mj_step(self._model, self._data)
                self._steps += 1
                if self._steps % self._substeps == 0:
                    self._announce()
            self._stepped.notify_all()

    def tick(self) -> None:
        """Steps to the end of the control period (10 ms)."""
        with self.lock:
            self.step(self._substeps - self._steps % self._substeps)

    def pause(self, paused: bool = True) -> None:
        with self.lock:
            self._paused = paused
            self._announce()

    def reset(self) -> None:
        """Robot to its home, objects to where they settled, at rest; drives hold. Time goes on."""
        with self.lock:
            self._to_start()
            for drive in self._drives:
                drive.reset(self._data)
            self._announce()

    def replace(self, model: mujoco.MjModel, manifest: CellManifest) -> None:
        """Another scene in the same world: same robot, other objects. Readers see a new generation."""
        with self.lock:
            self.generation += 1
            self._take(model, manifest)
            for drive in self._drives:
                drive.bind(model)
                drive.reset(self._data)
            self._announce()

    def run_realtime(self, stop: threading.Event) -> None:
        """Ticks in step with the wall clock until `stop` is set; keeps announcing while paused.

        When the machine is too slow it runs as fast as it can, and `real_time_factor` tells.
        """
        self._pacer.start()
        while not stop.is_set():
            with self.lock:
                if self._paused:
                    self._announce()
                    self._pacer.start()
                else:
                    self.tick()
            self._pacer.wait(stop)

    def wait_until(self, time_ns: int, timeout_s: float) -> None:
        """Blocks until simulated time has come; DeviceTimeout if it does not within `timeout_s` real seconds."""
        deadline = time.monotonic() + timeout_s
        with self._stepped:
            while self.time_ns < time_ns:
                left = deadline - time.monotonic()
                if left <= 0 or not self._stepped.wait(left):
                    raise DeviceTimeout(
                        f"simulated time is {self.time_ns / 1e9:.3f} s after waiting {timeout_s} s for "
                        f"{time_ns / 1e9:.3f} s; is the world paused or not running?"
                    )

    # -- what is true in it

    def state_hash(self) -> str:
        """sha256 of the full integration state; equal seeds and commands give equal hashes."""
        with self.lock:
            signature = int(mujoco.mjtState.mjSTATE_INTEGRATION)
            state = np.empty(mujoco.mj_stateSize(self._model, signature))
            mujoco.mj_getState(self._model, self._data, state, signature)
        return hashlib.sha256(state.tobytes()).hexdigest()

    def objects(self) -> tuple[ObjectTruth, ...]:
        with self.lock:
            return tuple(self._truth(e.body, e.name, e.family) for e in self._manifest.objects)

    def objects_in_bin(self) -> tuple[str, ...]:
        """Bodies of the objects that lie in the bin."""
        return tuple(o.body for o in self.objects() if o.place == "bin")

    # -- inside

    def _take(self, model: mujoco.MjModel, manifest: CellManifest) -> None:
        self._model, self._manifest = model, manifest
        self._data = mujoco.MjData(model)
        self._dt_s = float(model.opt.timestep)
        self._dt_ns = round(self._dt_s * 1e9)
        self._substeps = round(CONTROL_PERIOD_S / self._dt_s)
        self._to_start()

    def _to_start(self) -> None:
        mujoco.mj_resetDataKeyframe(self._model, self._data, self._model.key("home").id)
        mujoco.mj_forward(self._model, self._data)

    def _announce(self) -> None:
        for listener in self._listeners:
            listener(self)

    def _truth(self, body: str, name: str, family: str) -> ObjectTruth:
        start = int(self._model.joint(body).qposadr[0])
        pose = self._data.qpos[start : start + 7].copy()
        place = "bin" if in_bin(pose[:3]) else "fell" if pose[2] < FELL_BELOW_Z_M else "table"
        return ObjectTruth(body, name, family, pose[:3], pose[3:], place)
