"""Executing grasps with the free hand: approach, close with constant force, lift, hold."""

from dataclasses import dataclass

import mujoco
import numpy as np

from sinew_hardware.models import panda_hand
from sinew_policies.common.jaw import opening_for
from sinew_policies.common.types import F64
from sinew_sim.floating.frames import hand_poses
from sinew_sim.floating.scene import FloatingScene, pose7

PREGRASP_M = 0.10
LIFT_M = 0.15
LIFTED_M = 0.10  # an object counts as lifted from this rise on
APPROACH_MPS = 0.25
LIFT_MPS = 0.30
CLOSE_S = 0.35
HOLD_S = 1.0
SETTLE_S = 0.5
_TICK_S = 0.01
_CONTACT_STOP_N = 15.0  # an arm's contact guard halts the approach here


@dataclass(frozen=True)
class GraspResult:
    success: bool
    object_index: int  # what the fingers held at the end, -1 nothing
    collided: bool  # the hand touched something before it closed
    lost: bool = False  # held while lifting, gone at the end


class FloatingHand:
    """Moves the hand of one scene. It owns the scene's MjData and the list of objects still there."""

    def __init__(self, scene: FloatingScene, *, force_n: float = panda_hand.DEFAULT_FORCE_N) -> None:
        self.scene = scene
        self.data = mujoco.MjData(scene.model)
        self.present = [True] * len(scene.objects)
        self._force_n = force_n
        self._steps = round(_TICK_S / scene.model.opt.timestep)
        self.park()
        mujoco.mj_forward(scene.model, self.data)

    def settle(self, duration_s: float = SETTLE_S) -> None:
        for _ in range(round(duration_s / _TICK_S)):
            self._tick()

    def park(self) -> None:
        """Puts the open hand far above the table at once."""
        T = np.eye(4)
        T[:3, 3] = (0.5, 0.0, 1.2)
        self._teleport(T, panda_hand.MAX_WIDTH_M)

    def execute(self, T_base_grasp: F64, width_m: float) -> GraspResult:
        """One attempt with a grasp frame (4, 4) whose contacts lie `width_m` apart; parks the hand afterwards."""
        T = hand_poses(T_base_grasp)
        before = [self.data.qpos[q + 2] for q in self.scene.object_q]
        away = T.copy()
        away[:3, 3] -= PREGRASP_M * T[:3, 2]
        self._teleport(away, opening_for(width_m))
        collided = not self._move(away, T, APPROACH_MPS, guarded=True)
        self.data.ctrl[0] = -self._force_n
        for _ in range(round(CLOSE_S / _TICK_S)):
            self._tick()
        now = self._target()
        up = now.copy()
        up[2, 3] += LIFT_M
        self._move(now, up, LIFT_MPS)
        held_first = self.held()
        for _ in range(round(HOLD_S / _TICK_S)):
            self._tick()
        held = self.held()
        rise = self.data.qpos[self.scene.object_q[held] + 2] - before[held] if held >= 0 else 0.0
        success = held >= 0 and rise >= LIFTED_M
        if success:
            self.remove(held)
        self.park()
        return GraspResult(success, held, collided, lost=held_first >= 0 and not success)

    def held(self) -> int:
        """The object that both fingers touch, -1 if there is none."""
        body = self.scene.model.geom_bodyid[self.data.contact.geom].reshape(-1, 2)
        sides = [set(body[(body == f).any(axis=1)].ravel().tolist()) for f in self.scene.hand_bodies[1:]]
        for i, b in enumerate(self.scene.object_bodies):
            if self.present[i] and all(b in s for s in sides):
                return i
        return -1

    def remove(self, index: int) -> None:
        """Takes an object out of the world: parked, weightless, touching nothing."""
        scene, data = self.scene, self.data
        self.present[index] = False
        q, v = scene.object_q[index], scene.object_v[index]
        data.qpos[q : q + 7] = [5.0 + index, 5.0, 0.0, 1.0, 0.0, 0.0, 0.0]
        data.qvel[v : v + 6] = 0.0
        body = scene.object_bodies[index]
        geoms = scene.model.geom_bodyid == body
        scene.model.geom_contype[geoms] = 0
        scene.model.geom_conaffinity[geoms] = 0
        scene.model.body_gravcomp[body] = 1.0

    def remove_strays(self, low: F64, high: F64) -> int:
        """Removes objects whose origin left the box [low, high]; returns how many."""
        gone = [
            i
            for i, q in enumerate(self.scene.object_q)
            if self.present[i]
            and not bool(((self.data.qpos[q : q + 3] >= low) & (self.data.qpos[q : q + 3] <= high)).all())
        ]
        for i in gone:
            self.remove(i)
        return len(gone)

    def _tick(self) -> None:
        mujoco.mj_step(self.scene.model, self.data, nstep=self._steps)

    def _target(self) -> F64:
        T = np.eye(4)
        T[:3, :3] = self.data.xmat[self.scene.hand_bodies[0]].reshape(3, 3)
        T[:3, 3] = self.data.xpos[self.scene.hand_bodies[0]]
        return T

    def _teleport(self, T_base_hand: F64, opening_m: float) -> None:
        pose = pose7(T_base_hand)
        self.data.mocap_pos[0], self.data.mocap_quat[0] = pose[:3], pose[3:]
        q = self.scene.hand_q
        v = int(self.scene.model.joint("hand").dofadr[0])
        self.data.qpos[q : q + 7] = pose
        self.data.qvel[v : v + 6] = 0.0
        for joint in panda_hand.FINGER_JOINTS:
            j = self.scene.model.joint(f"panda_{joint}")
            self.data.qpos[j.qposadr[0]] = opening_m / 2.0
            self.data.qvel[j.dofadr[0]] = 0.0
        self.data.ctrl[0] = 0.0

    def _move(self, start: F64, end: F64, speed_mps: float, *, guarded: bool = False) -> bool:
        """Straight line with a smooth speed profile, same orientation; False if the guard stopped it."""
        distance = float(np.linalg.norm(end[:3, 3] - start[:3, 3]))
        ticks = max(1, round(1.5 * distance / speed_mps / _TICK_S))
        pose = pose7(start)
        self.data.mocap_quat[0] = pose[3:]
        for k in range(1, ticks + 1):
            u = k / ticks
            s = u * u * (3.0 - 2.0 * u)
            self.data.mocap_pos[0] = (1.0 - s) * start[:3, 3] + s * end[:3, 3]
            self._tick()
            if guarded and self._contact_force() > _CONTACT_STOP_N:
                stopped = pose7(self._target())
                self.data.mocap_pos[0] = stopped[:3]
                return False
        return True

    def _contact_force(self) -> float:
        """Sum of normal forces on the hand in newtons."""
        body = self.scene.model.geom_bodyid[self.data.contact.geom].reshape(-1, 2)
        on_hand = np.flatnonzero(np.isin(body, self.scene.hand_bodies).any(axis=1))
        wrench = np.zeros(6)
        total = 0.0
        for k in on_hand:
            mujoco.mj_contactForce(self.scene.model, self.data, int(k), wrench)
            total += wrench[0]
        return total
