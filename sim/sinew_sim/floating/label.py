"""Does a grasp hold one object? Tested in the hand's own frame, where the hand stands still.

The shaking hand is a non-inertial frame: gravity there is the true one minus the hand's acceleration. So the
hand's base is fixed and gravity moves instead, which needs no weld, half the degrees of freedom, and
cannot lag behind the commanded motion. Angular rates are slow enough that only the turning of gravity counts.
"""

from dataclasses import dataclass
from enum import Enum

import mujoco
import numpy as np

from sinew_hardware.models import panda_hand
from sinew_policies.common.geometry import inverse, quat_from_matrix
from sinew_policies.common.types import F64
from sinew_sim.floating.frames import T_GRASP_HAND
from sinew_sim.floating.physics import set_physics
from sinew_sim.objects.model import ObjectModel, add_object

TIMESTEP_S = 0.001
CLOSE_S = 0.25
SHAKE_S = 0.8
LOST_M = 0.05  # an object that moved farther than this in the hand is lost
_G = 9.81
_CHUNK = 10  # steps between two updates of gravity
_SIDES = ("left", "right")


class Outcome(Enum):
    COLLISION = 0  # the open hand touches the object
    MISSED = 1  # closed, but not both fingers touch
    DROPPED = 2
    HELD = 3


@dataclass(frozen=True)
class LabelSettings:
    force_n: float = panda_hand.DEFAULT_FORCE_N
    pad_friction: float = 0.7  # a little below the cell's pads, so that labels keep a margin


class GraspTester:
    """Tests grasps of one object; not thread-safe."""

    def __init__(self, obj: ObjectModel, settings: LabelSettings | None = None) -> None:
        self._settings = settings or LabelSettings()
        spec = mujoco.MjSpec()
        set_physics(spec, timestep_s=TIMESTEP_S, noslip=0)
        panda_hand.add_hand(spec.worldbody, spec, visual=False)
        add_object(spec, obj, "object", [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        for side in _SIDES:
            pad = spec.geom(f"panda_{side}finger_pad")
            pad.friction = [self._settings.pad_friction, *panda_hand.PAD_FRICTION[1:]]
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._object_q = int(self._model.joint("object").qposadr[0])
        self._finger_q = [int(self._model.joint(f"panda_{j}").qposadr[0]) for j in panda_hand.FINGER_JOINTS]
        self._finger_bodies = [self._model.body(f"panda_{side}finger").id for side in _SIDES]
        self._object_body = self._model.body("object").id
        self._gravity = gravity_schedule(SHAKE_S, _CHUNK * TIMESTEP_S)  # (chunks, 3)

    def collides(self, T_obj_grasp: F64, opening_m: float) -> bool:
        """Whether the hand, opened to `opening_m` in total, touches the object at the grasp (4, 4)."""
        self._place(T_obj_grasp, opening_m)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        return bool((self._data.contact.dist < 0.0).any())

    def test(self, T_obj_grasp: F64, opening_m: float) -> Outcome:
        """Closes, then lets gravity turn and shake; T_obj_grasp (4, 4) is the grasp in the object's frame."""
        if self.collides(T_obj_grasp, opening_m):
            return Outcome.COLLISION
        model, data = self._model, self._data
        self._place(T_obj_grasp, opening_m)
        model.opt.gravity[:] = 0.0
        data.ctrl[0] = -self._settings.force_n
        mujoco.mj_step(model, data, nstep=round(CLOSE_S / TIMESTEP_S))
        if not self._touching():
            return Outcome.MISSED
        at = slice(self._object_q, self._object_q + 3)
        start = data.qpos[at].copy()
        for k, gravity in enumerate(self._gravity):
            model.opt.gravity[:] = gravity
            mujoco.mj_step(model, data, nstep=_CHUNK)
            if k % 5 == 0 and float(np.linalg.norm(data.qpos[at] - start)) > LOST_M:
                return Outcome.DROPPED
        moved = float(np.linalg.norm(data.qpos[at] - start))
        return Outcome.HELD if moved <= LOST_M and self._touching() else Outcome.DROPPED

    def _place(self, T_obj_grasp: F64, opening_m: float) -> None:
        mujoco.mj_resetData(self._model, self._data)
        T_hand_obj = inverse(T_obj_grasp @ T_GRASP_HAND)
        quat = quat_from_matrix(T_hand_obj[:3, :3])
        q = self._object_q
        self._data.qpos[q : q + 3] = T_hand_obj[:3, 3]
        self._data.qpos[q + 3 : q + 7] = [quat[3], *quat[:3]]
        self._data.qpos[self._finger_q] = opening_m / 2.0

    def _touching(self) -> bool:
        body = self._model.geom_bodyid[self._data.contact.geom]  # (contacts, 2)
        with_object = (body == self._object_body).any(axis=1)
        return all(bool((with_object & (body == f).any(axis=1)).any()) for f in self._finger_bodies)


def gravity_schedule(duration_s: float, period_s: float) -> F64:
    """Apparent gravity (K, 3) in the hand's frame: a lift, then 3 cm at 3 Hz along the approach and 2 cm at
    1.5 Hz sideways while the hand rolls and pitches by 0.6 rad. The hand starts pointing down.
    """
    t = np.arange(0.0, duration_s, period_s)
    ramp = np.clip(t / 0.1, 0.0, 1.0)
    ramp = ramp * ramp * (3.0 - 2.0 * ramp)
    roll = 0.6 * ramp * np.sin(2.0 * np.pi * t / duration_s)
    pitch = 0.6 * ramp * np.sin(4.0 * np.pi * t / duration_s)
    down = np.stack([np.sin(pitch), -np.sin(roll) * np.cos(pitch), np.cos(roll) * np.cos(pitch)], axis=1)
    w_z, w_xy = 2.0 * np.pi * 3.0, 2.0 * np.pi * 1.5
    shake = np.zeros((len(t), 3))
    shake[:, 2] = 0.03 * w_z**2 * np.sin(w_z * t)
    shake[:, 0] = 0.02 * w_xy**2 * np.sin(w_xy * t)
    shake[:, 1] = 0.02 * w_xy**2 * np.cos(w_xy * t)
    return ramp[:, None] * (_G * down + shake)
