"""Where the hand may be, and that the arm does not hit itself: forward kinematics and collision on an MjModel."""

from dataclasses import dataclass

import mujoco
import numpy as np

from sinew_hardware.models.panda import HAND_BODY, JOINT_NAMES, build_arm
from sinew_hardware.models.panda_hand import FINGERTIP_Z_M
from sinew_policies.common.types import F64

# Points of the hand that must stay inside: its origin and the outside of both fingertips when open.
HAND_POINTS: F64 = np.array([[0.0, 0.0, 0.0], [0.0, 0.05, FINGERTIP_Z_M], [0.0, -0.05, FINGERTIP_Z_M]])


@dataclass(frozen=True)
class Plane:
    """Allowed where normal · x >= offset_m, in base_link."""

    name: str
    normal: tuple[float, float, float]
    offset_m: float


@dataclass(frozen=True)
class Workspace:
    """Box in base_link, metres, and further planes; for the points of the hand."""

    lower: tuple[float, float, float] = (-0.85, -0.85, -0.005)
    upper: tuple[float, float, float] = (0.95, 0.95, 1.3)
    planes: tuple[Plane, ...] = ()

    def contains(self, points: F64, margin_m: float = 0.0) -> bool:
        """Whether points (N, 3) in base_link lie inside, `margin_m` away from every bound."""
        inside = bool(
            np.all(points >= np.array(self.lower) + margin_m) and np.all(points <= np.array(self.upper) - margin_m)
        )
        return inside and all(
            float(np.min(points @ np.array(plane.normal))) >= plane.offset_m + margin_m for plane in self.planes
        )


@dataclass(frozen=True)
class Breach:
    reason: str  # "workspace" or "self_collision"
    message: str
    depth_m: float


class Envelope:
    """Checks configurations; about 15 µs each, so the gate can afford it for every command."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self._workspace = workspace or Workspace()
        spec = mujoco.MjSpec()
        build_arm(spec, visual=False)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._data.qpos[len(JOINT_NAMES) :] = 0.04
        self._hand = self._model.body(HAND_BODY).id
        self._lower = np.array(self._workspace.lower)
        self._upper = np.array(self._workspace.upper)

    def breach(self, q: F64) -> Breach | None:
        """What is wrong with joint angles (7,), None when nothing is."""
        self._data.qpos[: len(JOINT_NAMES)] = q
        mujoco.mj_kinematics(self._model, self._data)
        R = self._data.xmat[self._hand].reshape(3, 3)
        points = HAND_POINTS @ R.T + self._data.xpos[self._hand]  # (3, 3)
        if np.any(points < self._lower) or np.any(points > self._upper):
            return self._box_breach(points)
        for plane in self._workspace.planes:
            depth = plane.offset_m - float(np.min(points @ np.array(plane.normal)))
            if depth > 0.0:
                message = (
                    f"the hand would pass plane '{plane.name}' by {depth * 1e3:.0f} mm; stay on its other side"
                )
                return Breach("workspace", message, depth)
        mujoco.mj_collision(self._model, self._data)
        if self._data.ncon == 0:
            return None
        deepest = int(np.argmin(self._data.contact.dist))
        depth = -float(self._data.contact.dist[deepest])
        if depth <= 0.0:
            return None
        names = [self._model.geom(int(g)).name for g in self._data.contact.geom[deepest]]
        return Breach("self_collision", f"the arm would hit itself: {names[0]} against {names[1]}", depth)

    def _box_breach(self, points: F64) -> Breach:
        excess = np.maximum(self._lower - points, points - self._upper)
        point, axis = np.unravel_index(int(np.argmax(excess)), excess.shape)
        message = (
            f"the hand would leave the workspace: {'xyz'[axis]} = {points[point, axis]:.3f} m, allowed "
            f"{self._lower[axis]:.3f} to {self._upper[axis]:.3f}; command a pose inside it"
        )
        return Breach("workspace", message, float(excess[point, axis]))
