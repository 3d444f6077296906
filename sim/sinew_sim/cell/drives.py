"""Drives of the simulated robot: what the motor controllers of the real one do between two commands."""

import mujoco
import numpy as np

from sinew_hardware.models import panda
from sinew_hardware.models.panda_hand import DEFAULT_FORCE_N, FORCE_RANGE_N, MAX_WIDTH_M
from sinew_policies.common.types import F64
from sinew_sim.cell.config import CONTROL_PERIOD_S

_FEED_FORWARD_TAU_S = 0.008
_SPEED_HEADROOM = 1.2  # the reference catches up after a late command at most this much over the limits
_ALPHA, _BETA = 0.5, 1.0 / 6.0  # tracker gains; beta = alpha² / (2 - alpha) settles without ringing
_COAST_TICKS = 5  # a busy machine keeps a thread away for some hundredths of a second
_SLEW_RAD = 0.05  # further away than late commands explain: go there at limited speed
_REST_RAD_S = 0.1


class ArmDrive:
    """Turns joint commands at about 100 Hz into servo inputs at the physics rate.

    An alpha-beta tracker follows the commands' position and velocity. Commands arrive unevenly (two in one
    tick, none in the next); the tracker goes on for up to five ticks instead of jolting the arm. When the
    source then stays silent, it brakes within the acceleration limits if the arm was moving, else it settles
    on the last command. A servo kp (ctrl - q) - kv dq trails by kv/kp dq, so ctrl leads by that much.
    """

    def __init__(self) -> None:
        self._lead_s = panda.SERVO_KV / panda.SERVO_KP
        self._speed_limit = _SPEED_HEADROOM * panda.LIMITS.velocity
        self.qpos = self.dof = self.ctrl = slice(0, 7)
        self._goal: F64
        self._reference: F64
        self._velocity: F64  # of the reference in this tick
        self._track: F64  # the tracker's estimate of the commands' velocity
        self._lead_velocity: F64
        self._feed_forward: F64
        self._stand(panda.HOME_Q)

    def bind(self, model: mujoco.MjModel) -> None:
        first = model.joint(panda.JOINT_NAMES[0])
        self.qpos = slice(int(first.qposadr[0]), int(first.qposadr[0]) + 7)
        self.dof = slice(int(first.dofadr[0]), int(first.dofadr[0]) + 7)
        actuator = model.actuator(panda.ACTUATOR_NAMES[0]).id
        self.ctrl = slice(actuator, actuator + 7)

    def reset(self, data: mujoco.MjData) -> None:
        self._stand(data.qpos[self.qpos])

    def command(self, q: F64) -> F64:
        """Goal for the next tick, (7,) rad; returns it clipped to the joint range."""
        self._goal = np.clip(q, panda.LIMITS.lower, panda.LIMITS.upper)
        self._fresh = True
        self._braking = False
        return self._goal.copy()

    def hold(self) -> None:
        """Brakes the reference at the acceleration limits and stays where that ends."""
        self._braking = True
        self._fresh = False
        self._silent = _COAST_TICKS + 1

    def tick(self, data: mujoco.MjData, time_ns: int) -> None:
        if self._braking:
            return
        recent = self._silent <= _COAST_TICKS
        if self._fresh:
            self._streaming, self._silent, self._fresh = recent, 0, False
        else:
            self._silent += 1
        if self._streaming and self._silent == _COAST_TICKS + 1 and np.abs(self._track).max() > _REST_RAD_S:
            self.hold()
            return
        predicted = self._reference + self._track * CONTROL_PERIOD_S
        residual = self._goal - predicted
        if self._streaming and 0 < self._silent <= _COAST_TICKS:
            residual = np.zeros(7)
        limit = self._speed_limit
        if np.abs(residual).max() > _SLEW_RAD:
            self._track = np.zeros(7)
            target = self._goal
            limit = np.minimum(limit, np.abs(self._velocity) + panda.LIMITS.acceleration * CONTROL_PERIOD_S)
        else:
            self._track = self._track + _BETA / CONTROL_PERIOD_S * residual
            target = predicted + _ALPHA * residual
        self._track = np.clip(self._track, -self._speed_limit, self._speed_limit)
        step = (target - self._reference) / CONTROL_PERIOD_S
        self._velocity = np.clip(step, -limit, limit)
        self._lead_velocity = self._track

    def substep(self, data: mujoco.MjData, dt_s: float) -> None:
        if self._braking:
            slower = np.maximum(np.abs(self._velocity) - panda.LIMITS.acceleration * dt_s, 0.0)
            self._velocity = self._track = self._lead_velocity = np.sign(self._velocity) * slower
        self._reference = self._reference + self._velocity * dt_s
        if self._braking:
            self._reference = np.clip(self._reference, panda.LIMITS.lower, panda.LIMITS.upper)
            self._goal = self._reference.copy()
        self._feed_forward += (self._lead_velocity - self._feed_forward) * (dt_s / _FEED_FORWARD_TAU_S)
        data.ctrl[self.ctrl] = self._reference + self._lead_s * self._feed_forward

    def _stand(self, q: F64) -> None:
        self._goal = np.array(q, np.float64)
        self._reference = self._goal.copy()
        self._velocity = np.zeros(7)
        self._track = np.zeros(7)
        self._lead_velocity = np.zeros(7)
        self._feed_forward = np.zeros(7)
        self._fresh = self._braking = self._streaming = False
        self._silent = _COAST_TICKS + 1


class GripperDrive:
    """Moves the fingers to a total opening at a speed, with a force that is never exceeded.

    When the fingers cannot reach the opening because something is between them, the force rises to the
    commanded one within a fifth of a second and stays, as on the real hand.
    """

    STIFFNESS_N_M = 10_000.0
    INTEGRAL_N_MS = 300_000.0
    DAMPING_NS_M = 60.0  # of the total opening: half a finger's own damping
    MAX_SPEED_MPS = 0.2

    def __init__(self) -> None:
        self._goal_m = self._reference_m = MAX_WIDTH_M
        self._speed_mps = 0.1
        self._force_n = DEFAULT_FORCE_N
        self._push_n = 0.0  # integral part
        self.tendon = self.ctrl = 0

    def bind(self, model: mujoco.MjModel) -> None:
        self.tendon = int(model.tendon("panda_hand_width").id)
        self.ctrl = int(model.actuator("panda_hand_actuator").id)

    def reset(self, data: mujoco.MjData) -> None:
        self._goal_m = self._reference_m = float(data.ten_length[self.tendon])
        self._push_n = 0.0

    def command(self, width_m: float, speed_mps: float, force_n: float) -> float:
        """New goal; returns the opening clipped to 0..0.08 m. Force is per finger, clipped to 10..60 N."""
        goal = min(max(width_m, 0.0), MAX_WIDTH_M)
        if goal != self._goal_m:
            self._push_n = 0.0
        self._goal_m = goal
        self._speed_mps = min(max(speed_mps, 0.005), self.MAX_SPEED_MPS)
        self._force_n = min(max(force_n, FORCE_RANGE_N[0]), FORCE_RANGE_N[1])
        return goal

    def hold(self, data: mujoco.MjData) -> None:
        """Keeps gripping what it grips; else stops the fingers where they are."""
        if abs(float(data.ctrl[self.ctrl])) < 0.8 * self._force_n:
            self._goal_m = self._reference_m = float(data.ten_length[self.tendon])
            self._push_n = 0.0

    def tick(self, data: mujoco.MjData, time_ns: int) -> None:
        # A blocked finger leaves the reference behind; start the next motion from where it really is.
        width = float(data.ten_length[self.tendon])
        if (self._goal_m - width) * (self._goal_m - self._reference_m) < 0.0:
            self._reference_m = width

    def substep(self, data: mujoco.MjData, dt_s: float) -> None:
        ahead = self._goal_m - self._reference_m
        step = min(max(ahead, -self._speed_mps * dt_s), self._speed_mps * dt_s)
        self._reference_m += step
        error = self._reference_m - float(data.ten_length[self.tendon])
        if ahead == 0.0:
            self._push_n += self.INTEGRAL_N_MS * error * dt_s
            self._push_n = min(max(self._push_n, -self._force_n), self._force_n)
        force = self.STIFFNESS_N_M * error + self.DAMPING_NS_M * step / dt_s + self._push_n
        data.ctrl[self.ctrl] = min(max(force, -self._force_n), self._force_n)
