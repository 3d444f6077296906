"""A table with objects and a hand without an arm, as one MuJoCo model.

The hand is a free body; a weld pulls it to a mocap body, so that it moves as commanded yet pushes with
finite force. World frame = base_link: z = 0 is the table top.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from sinew_hardware.models import panda_hand
from sinew_policies.common.geometry import from_rt, matrix_from_quat
from sinew_policies.common.types import F64
from sinew_sim.floating.label import TIMESTEP_S
from sinew_sim.floating.physics import set_physics
from sinew_sim.objects.model import HULL_GROUP, VISUAL_GROUP, ObjectModel, add_object

WORKSPACE_CENTRE_M = (0.50, 0.0, 0.15)
WORKSPACE_SIZE_M = 0.30
CAMERA = "scene_camera"
_TABLE_HALF_M = (0.8, 0.8, 0.05)
_PARKED = (0.5, 0.0, 1.2)


def object_name(index: int) -> str:
    return f"object_{index}"


@dataclass(frozen=True, eq=False)
class FloatingScene:
    """Compiled model with the ids that the rest needs; object i has `object_name(i)`."""

    model: mujoco.MjModel
    objects: tuple[ObjectModel, ...]
    object_bodies: tuple[int, ...]
    object_q: tuple[int, ...]  # first qpos index of each object's free joint
    object_v: tuple[int, ...]  # first qvel index
    hand_q: int
    finger_q: tuple[int, int]
    hand_bodies: tuple[int, int, int]  # palm, left finger, right finger

    def object_pose(self, data: mujoco.MjData, index: int) -> F64:
        """T_base_object (4, 4)."""
        q = data.qpos[self.object_q[index] : self.object_q[index] + 7]
        return from_rt(matrix_from_quat([q[4], q[5], q[6], q[3]]), q[:3])

    def set_object_poses(self, data: mujoco.MjData, poses: F64) -> None:
        """Poses (n, 7) = xyz and MuJoCo's wxyz."""
        for start, pose in zip(self.object_q, poses, strict=True):
            data.qpos[start : start + 7] = pose

    def geom_object(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Object index per geom (G,), -1 for everything else."""
        lookup = np.full(self.model.nbody, -1, np.int64)
        lookup[list(self.object_bodies)] = np.arange(len(self.objects))
        return lookup[self.model.geom_bodyid]


def build_scene(
    objects: Sequence[ObjectModel],
    poses: F64,
    *,
    hand: bool = True,
    timestep_s: float = TIMESTEP_S,
    fovy_deg: float = 45.0,
) -> FloatingScene:
    """Table, objects at `poses` (n, 7: xyz, wxyz) and, with `hand`, the hand parked above them."""
    spec = mujoco.MjSpec()
    set_physics(spec, timestep_s=timestep_s, noslip=0)
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 10.0
    spec.stat.extent, spec.stat.center = 1.0, list(WORKSPACE_CENTRE_M)
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[WORKSPACE_CENTRE_M[0], 0.0, -_TABLE_HALF_M[2]],
        size=list(_TABLE_HALF_M),
        friction=[0.8, 0.005, 0.0001],
        condim=4,
        rgba=[0.55, 0.5, 0.45, 1.0],
    )
    spec.worldbody.add_camera(name=CAMERA, fovy=fovy_deg, pos=[1.1, 0.0, 0.7])
    spec.worldbody.add_light(pos=[0.5, 0.3, 2.0], dir=[0.0, -0.1, -1.0])
    for i, (obj, pose) in enumerate(zip(objects, poses, strict=True)):
        add_object(spec, obj, object_name(i), pose)
    if hand:
        _add_welded_hand(spec)
    model = spec.compile()
    joints = [model.joint(object_name(i)) for i in range(len(objects))]
    return FloatingScene(
        model=model,
        objects=tuple(objects),
        object_bodies=tuple(model.body(object_name(i)).id for i in range(len(objects))),
        object_q=tuple(int(j.qposadr[0]) for j in joints),
        object_v=tuple(int(j.dofadr[0]) for j in joints),
        hand_q=int(model.joint("hand").qposadr[0]) if hand else -1,
        finger_q=_finger_q(model) if hand else (-1, -1),
        hand_bodies=_hand_bodies(model) if hand else (-1, -1, -1),
    )


def pose7(T: F64) -> F64:
    """(7,) xyz and MuJoCo's wxyz of a transform (4, 4)."""
    out = np.empty(7)
    out[:3] = T[:3, 3]
    mujoco.mju_mat2Quat(out[3:], np.ascontiguousarray(T[:3, :3]).ravel())
    return out


def _add_welded_hand(spec: mujoco.MjSpec) -> None:
    target = spec.worldbody.add_body(name="hand_target", mocap=True, pos=list(_PARKED))
    parts = panda_hand.add_hand(spec.worldbody, spec, visual=False)
    parts.body.pos = list(_PARKED)
    parts.body.add_freejoint(name="hand", align=0)
    spec.add_equality(
        name="hand_weld",
        type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        name1=target.name,
        name2=parts.body.name,
        solref=[0.004, 1.0],
        solimp=[0.95, 0.99, 0.001, 0.5, 2.0],
        data=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, *([0.0] * (mujoco.mjNEQDATA - 11))],
    )


def _finger_q(model: mujoco.MjModel) -> tuple[int, int]:
    first, second = (int(model.joint(f"panda_{j}").qposadr[0]) for j in panda_hand.FINGER_JOINTS)
    return first, second


def _hand_bodies(model: mujoco.MjModel) -> tuple[int, int, int]:
    names = ("panda_hand", "panda_leftfinger", "panda_rightfinger")
    palm, left, right = (int(model.body(n).id) for n in names)
    return palm, left, right


__all__ = ["CAMERA", "HULL_GROUP", "VISUAL_GROUP", "FloatingScene", "build_scene", "object_name", "pose7"]
