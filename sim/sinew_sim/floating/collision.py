"""Is the open hand free of everything in a scene, at the grasp and on its way there?"""

import copy

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew_hardware.models import panda_hand
from sinew_policies.common import jaw
from sinew_policies.common.jaw import opening_for
from sinew_policies.common.types import F64
from sinew_sim.floating.frames import hand_poses
from sinew_sim.floating.scene import FloatingScene, pose7

SWEEP_M = (0.0, -0.03, -0.08)
"""Stations along the approach at which the open hand must be free, relative to the grasp."""

_MARGIN_M = 0.003
_FREE_M = 0.0
_HAND, _REST = 1, 2  # contype bits


class HandChecker:
    """MuJoCo collision queries of the hand against a scene's table and objects, nothing else.

    It owns a copy of the model whose collision masks let only hand-to-world pairs through.
    """

    def __init__(self, scene: FloatingScene, data: mujoco.MjData) -> None:
        self._scene = scene
        self._model = copy.copy(scene.model)
        hand = np.isin(self._model.geom_bodyid, scene.hand_bodies)
        solid = (self._model.geom_contype != 0) | (self._model.geom_conaffinity != 0)
        self._model.geom_contype[:] = np.where(solid & hand, _HAND, 0)
        self._model.geom_conaffinity[:] = np.where(solid & ~hand, _HAND, 0)
        self._model.geom_margin[hand] = _MARGIN_M
        self._model.body_margin[list(scene.hand_bodies)] = _MARGIN_M  # the broad phase reads this one
        self._data = mujoco.MjData(self._model)
        self.update(data)

    def update(self, data: mujoco.MjData) -> None:
        """Takes the objects' poses from `data`."""
        self._data.qpos[:] = data.qpos

    def clearance(self, T_base_hand: F64, opening_m: float) -> float:
        """Distance in metres to the nearest obstacle, negative inside one, capped at 3 mm."""
        q = self._scene.hand_q
        self._data.qpos[q : q + 7] = pose7(T_base_hand)
        left, right = self._scene.finger_q
        self._data.qpos[left] = self._data.qpos[right] = opening_m / 2.0
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_collision(self._model, self._data)
        return float(self._data.contact.dist.min()) if self._data.ncon else _MARGIN_M

    def sweep_clearance(
        self, T_base_grasp: F64, width_m: float, *, stations_m: tuple[float, ...] = SWEEP_M
    ) -> float:
        """Smallest clearance over the stations; stops early once it is negative."""
        T = hand_poses(T_base_grasp)
        opening = opening_for(width_m)
        smallest = _MARGIN_M
        for station in stations_m:
            moved = T.copy()
            moved[:3, 3] += station * T[:3, 2]
            smallest = min(smallest, self.clearance(moved, opening))
            if smallest < _FREE_M:
                break
        return smallest

    def free(self, T_base_grasps: F64, widths_m: F64, *, margin_m: float = 0.0) -> NDArray[np.bool_]:
        """Which of the grasps (N, 4, 4) are free along their whole approach."""
        pairs = zip(T_base_grasps, widths_m, strict=True)
        return np.array([self.sweep_clearance(T, float(w)) >= margin_m for T, w in pairs], bool)


def lowest_points(T_base_grasps: F64, widths_m: F64) -> F64:
    """Height (N,) of the lowest corner of the open hand at grasps (N, 4, 4): a cheap first look at the table."""
    z = hand_poses(T_base_grasps)[:, 2, :]  # (N, 4) heights of the hand's axes and origin
    closed, halves = panda_hand.boxes_in_hand(0.0)  # (K, 3) each
    lowest = z[:, :3] @ closed.T - np.abs(z[:, :3]) @ halves.T  # (N, K)
    side = np.sign(closed[:, 1]) * (np.arange(len(closed)) >= len(panda_hand.PALM_BOXES))
    opening = np.minimum(widths_m + jaw.OPENING_CLEARANCE_M, jaw.MAX_OPENING_M)
    lowest += 0.5 * opening[:, None] * z[:, 1:2] * side
    return z[:, 3] + lowest.min(axis=1)
