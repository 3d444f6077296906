"""A small physics world of one table and some free objects, without robot, cameras or visual meshes."""

from collections.abc import Sequence

import mujoco
import numpy as np

from sinew_policies.common.types import F64
from sinew_sim.objects.model import ObjectModel, add_object

WORKSPACE_LOW: F64 = np.array([0.35, -0.15, 0.0])
WORKSPACE_HIGH: F64 = np.array([0.65, 0.15, 0.30])
"""Corners of the 30 cm workspace in base_link; its floor is the table top."""

_CENTRE = (WORKSPACE_LOW + WORKSPACE_HIGH) / 2
_WALL_HALF_M = 0.135  # inner half-width of the box into which piles are dropped
_WALL_HEIGHT_M = 0.5
_AWAY_Z_M = 100.0
_STILL_S, _STILL_M, _STILL_QUAT = 0.5, 0.0005, 0.004


class TableWorld:
    """Owns the model and data of one scene in the making. Poses are (7,): xyz and wxyz, in base_link."""

    def __init__(self, objects: Sequence[ObjectModel]) -> None:
        self.objects = tuple(objects)
        self.model = _build(self.objects)
        self.data = mujoco.MjData(self.model)
        self._walls = [g for g in range(self.model.ngeom) if self.model.geom(g).name.startswith("wall")]
        self.set_walls(False)

    def set_walls(self, on: bool) -> None:
        self.model.geom_contype[self._walls] = int(on)
        self.model.geom_conaffinity[self._walls] = int(on)

    def clear(self) -> None:
        """Puts every object far above the table, where it falls freely and touches nothing."""
        mujoco.mj_resetData(self.model, self.data)
        for i in range(len(self.objects)):
            self.put_away(i)

    def put_away(self, i: int) -> None:
        self.put(i, np.array([3.0 * i, 0.0, _AWAY_Z_M, 1.0, 0.0, 0.0, 0.0]))

    def put(self, i: int, pose: F64) -> None:
        """Places object `i` at rest."""
        self.data.qpos[7 * i : 7 * i + 7] = pose
        self.data.qvel[6 * i : 6 * i + 6] = 0.0

    def freeze(self) -> None:
        """Stops all motion and forgets the solver's warm start."""
        self.data.qvel[:] = 0.0
        self.data.qacc_warmstart[:] = 0.0

    def step(self, seconds: float) -> None:
        mujoco.mj_step(self.model, self.data, nstep=max(1, round(seconds / self.model.opt.timestep)))

    def settle(self, at_most_s: float) -> bool:
        """Steps until a stretch of `_STILL_S` from standstill moves nothing; whether that came in time.

        Looking at the speeds alone is not enough: an object about to tip over is slow for a while.
        """
        waited = 0.0
        while waited < at_most_s:
            before = self.poses
            self.freeze()
            self.step(_STILL_S)
            waited += _STILL_S
            moved = np.abs(self.poses - before)
            if moved[:, :3].max() < _STILL_M and moved[:, 3:].max() < _STILL_QUAT:
                self.freeze()
                return True
        return False

    def wait_for_rest(self, present: Sequence[int], at_least_s: float, at_most_s: float) -> None:
        """Steps until the objects `present` are slow, or the time is up."""
        self.step(at_least_s)
        waited = at_least_s
        while not self.at_rest(present) and waited < at_most_s:
            self.step(0.1)
            waited += 0.1

    def at_rest(self, present: Sequence[int]) -> bool:
        v = self.data.qvel.reshape(-1, 6)[list(present)]
        return bool(np.abs(v[:, :3]).max() < 0.004 and np.abs(v[:, 3:]).max() < 0.08)

    @property
    def poses(self) -> F64:
        """(n, 7)."""
        return self.data.qpos.reshape(-1, 7).copy()

    def points(self, i: int) -> F64:
        """Hull vertices (N, 3) of object `i` where it is now."""
        pose = self.data.qpos[7 * i : 7 * i + 7]
        return self.objects[i].hull_points @ rotation(pose[3:7]).T + pose[:3]

    def top(self, present: Sequence[int]) -> float:
        """Height of the highest point among the objects `present`, 0 when there are none."""
        return max((float(self.points(i)[:, 2].max()) for i in present), default=0.0)

    def inside(self, i: int, margin_m: float = 0.0) -> bool:
        """Whether every point of object `i` lies over the workspace, give or take `margin_m`."""
        xy = self.points(i)[:, :2]
        low, high = WORKSPACE_LOW[:2] - margin_m, WORKSPACE_HIGH[:2] + margin_m
        return bool((xy >= low).all() and (xy <= high).all())

    def penetration(self) -> float:
        """Depth in metres of the deepest contact in the present state."""
        mujoco.mj_forward(self.model, self.data)
        return -float(min((c.dist for c in self.data.contact), default=0.0))


def rotation(quat_wxyz: F64) -> F64:
    """Rotation matrix (3, 3) of MuJoCo's quaternion."""
    out = np.empty(9)
    mujoco.mju_quat2Mat(out, np.asarray(quat_wxyz, np.float64))
    return out.reshape(3, 3)


def _build(objects: Sequence[ObjectModel]) -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.002
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    box = mujoco.mjtGeom.mjGEOM_BOX
    x, y, _ = _CENTRE
    table = spec.worldbody.add_geom(name="table", type=box, size=[0.6, 0.6, 0.05], pos=[x, y, -0.05])
    table.friction = [0.5, 0.005, 0.0001]
    thick, half = 0.05, _WALL_HALF_M
    for k, (sx, sy) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        offset = half + thick
        size = [thick if sx else half + 2 * thick, thick if sy else half + 2 * thick, _WALL_HEIGHT_M / 2]
        wall = spec.worldbody.add_geom(name=f"wall{k}", type=box, size=size)
        wall.pos = [x + sx * offset, y + sy * offset, _WALL_HEIGHT_M / 2]
        wall.friction = [0.1, 0.005, 0.0001]
    for i, obj in enumerate(objects):
        add_object(spec, obj, f"object{i}", [3.0 * i, 0.0, _AWAY_Z_M, 1.0, 0.0, 0.0, 0.0], visual=False)
    return spec.compile()
