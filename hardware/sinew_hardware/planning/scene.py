"""Collision model for planning: robot, table, bin, cloud obstacles and the held object in one MjModel.

Compiling the model without meshes takes 1-3 ms, even with 800 obstacle voxels, so every change rebuilds it.
That keeps MuJoCo's bounding volume tree valid (moving geoms of a compiled model does not) and a check at
about 15 µs.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from sinew_hardware.models.panda import HAND_BODY, JOINT_NAMES, build_arm
from sinew_hardware.safety.envelope import HAND_POINTS, Workspace
from sinew_policies.common.errors import CloudError
from sinew_policies.common.types import F32, F64, I32

_HAND_BODIES = (HAND_BODY, "panda_leftfinger", "panda_rightfinger")
_ARM, _HAND, _HELD, _FIXED, _VOXEL, _TARGET = range(6)
_MAX_VOXELS = 4000
_WORKSPACE_MARGIN_M = 0.001  # the gate forecasts the braking way to about this
_MAX_SELF_MARGIN_M = 0.01
_MAX_MARGIN_M = 0.015  # contacts are reported up to this distance, so no clearance may exceed it


@dataclass(frozen=True)
class Box:
    """Axis-aligned box fixed in base_link, metres."""

    name: str
    centre: tuple[float, float, float]
    half: tuple[float, float, float]


@dataclass(frozen=True)
class Target:
    """Ball around the object to grasp: the hand may touch the cloud inside it."""

    centre: F64  # (3,) base_link
    radius_m: float


@dataclass(frozen=True)
class Held:
    """Object in the hand as points (N, 3) in panda_hand, each the centre of a ball of `radius_m`."""

    points: F64
    radius_m: float = 0.01


@dataclass(frozen=True)
class Tolerance:
    """What counts as collision: anything nearer than `clearance_m`, apart from the exceptions."""

    clearance_m: float = 0.005
    fixed_clearance_m: float | None = None  # hand and held object against table and bin; None = clearance_m
    self_clearance_m: float = 0.006  # the safety gate's forecast of a stop is about that good
    touch_target: bool = False  # hand and held object may touch the target's points
    ignore_held: bool = False  # the held object touches what it stood on


FREE = Tolerance()
APPROACH = Tolerance(clearance_m=0.0, fixed_clearance_m=-0.002, touch_target=True)
LIFT = Tolerance(clearance_m=0.0, fixed_clearance_m=-0.002, touch_target=True, ignore_held=True)


def cell_boxes() -> tuple[Box, ...]:
    """Table top at z = 0 and the bin: inner 0.26 x 0.34 m around (0.42, 0.42), walls 12 cm high."""
    wall, height = 0.005, 0.06
    x, y, hx, hy = 0.42, 0.42, 0.13, 0.17
    return (
        Box("table", (0.4, 0.0, -0.05), (0.9, 1.0, 0.05)),
        Box("bin_front", (x - hx - wall, y, height), (wall, hy + 2 * wall, height)),
        Box("bin_back", (x + hx + wall, y, height), (wall, hy + 2 * wall, height)),
        Box("bin_right", (x, y - hy - wall, height), (hx, wall, height)),
        Box("bin_left", (x, y + hy + wall, height), (hx, wall, height)),
    )


class PlanningScene:
    """Answers whether joint angles collide. Not thread-safe: it owns one scratch state."""

    def __init__(
        self,
        boxes: tuple[Box, ...] | None = None,
        *,
        voxel_m: float = 0.012,
        workspace: Workspace | None = None,
    ) -> None:
        """`workspace` must be the safety gate's, which would stop a motion that leaves it."""
        self._boxes = cell_boxes() if boxes is None else boxes
        self._voxel_m = voxel_m
        self._workspace = workspace or Workspace()
        self._lower = np.array(self._workspace.lower) + _WORKSPACE_MARGIN_M
        self._upper = np.array(self._workspace.upper) - _WORKSPACE_MARGIN_M
        self._voxels: F64 = np.zeros((0, 3))
        self._target: Target | None = None
        self._held: Held | None = None
        self._width_m = 0.08
        self._rebuild()

    @property
    def voxels(self) -> F64:
        """Centres (N, 3) of the obstacle balls, base_link."""
        return self._voxels

    @property
    def held(self) -> Held | None:
        return self._held

    def set_obstacles(self, xyz: F32 | F64 | None) -> None:
        """Replaces the obstacles by a cloud (N, 3) in base_link; None or empty clears them."""
        points = np.zeros((0, 3)) if xyz is None else np.asarray(xyz, dtype=np.float64).reshape(-1, 3)
        points = points[np.all(np.isfinite(points), axis=1)]
        # The table is a box of its own; its measured surface would block every low grasp.
        points = points[points[:, 2] > 0.006]
        keys = np.unique(np.floor(points / self._voxel_m).astype(np.int64), axis=0)
        if len(keys) > _MAX_VOXELS:
            raise CloudError(
                f"the cloud fills {len(keys)} voxels of {self._voxel_m * 1e3:.0f} mm, expected at most "
                f"{_MAX_VOXELS}; crop it to the workspace or take larger voxels"
            )
        self._voxels = np.asarray((keys + 0.5) * self._voxel_m, np.float64)
        self._rebuild()

    def set_target(self, target: Target | None) -> None:
        self._target = target
        self._roles = self._geom_roles()

    def attach(self, held: Held, *, clear_radius_m: float = 0.0, at: F64 | None = None) -> None:
        """Carries `held` with the hand; obstacle voxels within `clear_radius_m` of `at` (3,) were the object."""
        self._held = held
        if at is not None and clear_radius_m > 0.0 and len(self._voxels):
            far = np.linalg.norm(self._voxels - np.asarray(at), axis=1) > clear_radius_m
            self._voxels = self._voxels[far]
        self._rebuild()

    def detach(self) -> None:
        self._held = None
        self._rebuild()

    def set_width(self, width_m: float) -> None:
        """Total opening of the fingers."""
        self._width_m = float(np.clip(width_m, 0.0, 0.08))
        self._data.qpos[len(JOINT_NAMES) :] = self._width_m / 2.0

    def collides(self, q: F64, tolerance: Tolerance = FREE) -> bool:
        """Whether joint angles (7,) collide with the robot itself, the cell, the cloud or the held object, or
        put the hand outside the workspace.
        """
        return bool(self._offending(q, tolerance).any()) or not self._inside()

    def explain(self, q: F64, tolerance: Tolerance = FREE) -> str:
        """The deepest collision as 'geom against geom', empty when free."""
        bad = self._offending(q, tolerance)
        if not bad.any():
            return "" if self._inside() else "panda_hand outside the workspace"
        index = int(np.argmin(np.where(bad, self._data.contact.dist, np.inf)))
        names = [self._name(int(g)) for g in self._data.contact.geom[index]]
        return f"{names[0]} against {names[1]} ({self._data.contact.dist[index] * 1e3:.1f} mm)"

    def first_collision(self, path: F64, tolerance: Tolerance = FREE, step_rad: float = 0.0087) -> int | None:
        """Index of the first segment of a polyline (P, 7) that collides, or None.

        Every segment is sampled so densely that no joint moves more than `step_rad` (0.5° by default).
        """
        if self.collides(path[0], tolerance):
            return 0
        for index in range(len(path) - 1):
            delta = path[index + 1] - path[index]
            count = max(1, int(np.ceil(float(np.max(np.abs(delta))) / step_rad)))
            for k in range(1, count + 1):
                if self.collides(path[index] + delta * (k / count), tolerance):
                    return index
        return None

    def _offending(self, q: F64, tolerance: Tolerance) -> F64:
        data = self._data
        data.qpos[: len(JOINT_NAMES)] = q
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_collision(self._model, data)
        if data.ncon == 0:
            return np.zeros(0, dtype=bool)
        dist = data.contact.dist
        roles = np.sort(self._roles[data.contact.geom], axis=1)  # (ncon, 2) robot first, world second
        first, second = roles[:, 0], roles[:, 1]
        own = second <= _HELD
        held = (first == _HELD) | (second == _HELD)
        near_hand = (first == _HAND) | (first == _HELD)
        limit = np.full(len(dist), tolerance.clearance_m)
        limit[own] = tolerance.self_clearance_m
        limit[own & held] = 0.0
        if tolerance.fixed_clearance_m is not None:
            limit[near_hand & (second == _FIXED)] = tolerance.fixed_clearance_m
        bad = dist < limit
        if tolerance.touch_target:
            bad &= ~(near_hand & (second == _TARGET))
        if tolerance.ignore_held:
            bad &= ~held
        return bad

    def _inside(self) -> bool:
        """Whether the hand of the configuration checked last is in the workspace."""
        R = self._data.xmat[self._hand].reshape(3, 3)
        points = HAND_POINTS @ R.T + self._data.xpos[self._hand]
        if (points < self._lower).any() or (points > self._upper).any():
            return False
        return not self._workspace.planes or self._workspace.contains(points, _WORKSPACE_MARGIN_M)

    def _rebuild(self) -> None:
        spec = mujoco.MjSpec()
        build_arm(spec, visual=False)
        for geom in spec.geoms:
            geom.margin = _MAX_SELF_MARGIN_M
        world = spec.worldbody
        for box in self._boxes:
            geom = world.add_geom(name=box.name, type=mujoco.mjtGeom.mjGEOM_BOX, size=box.half, pos=box.centre)
            geom.margin = _MAX_MARGIN_M
        # Half the voxel's diagonal would cover it wholly; 0.6 of its side covers the surface that was seen.
        radius = 0.6 * self._voxel_m
        for index, centre in enumerate(self._voxels):
            geom = world.add_geom(
                name=f"voxel{index}", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[radius, 0.0, 0.0], pos=centre
            )
            geom.margin = _MAX_MARGIN_M
        if self._held is not None:
            hand = spec.body(HAND_BODY)
            for index, point in enumerate(self._held.points):
                hand.add_geom(
                    name=f"held{index}",
                    type=mujoco.mjtGeom.mjGEOM_SPHERE,
                    size=[self._held.radius_m, 0.0, 0.0],
                    pos=point,
                    mass=0.0,
                )
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._hand = self._model.body(HAND_BODY).id
        self._roles = self._geom_roles()
        self.set_width(self._width_m)

    def _geom_roles(self) -> I32:
        model = self._model
        hand = {model.body(name).id for name in _HAND_BODIES}
        roles = np.full(model.ngeom, _ARM, dtype=np.int32)
        for geom in range(model.ngeom):
            name = self._name(geom)
            if name.startswith("held"):
                roles[geom] = _HELD
            elif name.startswith("voxel"):
                roles[geom] = _VOXEL
                if self._target is not None:
                    gap = np.linalg.norm(model.geom_pos[geom] - self._target.centre)
                    roles[geom] = _TARGET if gap <= self._target.radius_m else _VOXEL
            elif model.geom_bodyid[geom] == 0:
                roles[geom] = _FIXED
            elif model.geom_bodyid[geom] in hand:
                roles[geom] = _HAND
        return roles

    def _name(self, geom: int) -> str:
        return mujoco.mj_id2name(self._model, mujoco.mjtObj.mjOBJ_GEOM, geom) or f"geom {geom}"
