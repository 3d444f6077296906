"""Builds the cell's MuJoCo model: robot, table, bin, cameras, lights and objects at rest."""

from dataclasses import dataclass

import mujoco
import numpy as np

from sinew_hardware.models import panda
from sinew_hardware.models.panda_hand import FINGER_TRAVEL_M
from sinew_policies.common.types import F64
from sinew_sim.camera.geometry import R_CAM_OPTICAL
from sinew_sim.cell import layout
from sinew_sim.cell.config import TIMESTEP_S, CellConfig
from sinew_sim.cell.layout import CameraMount
from sinew_sim.objects.model import ObjectModel, add_object
from sinew_sim.scenes.make import make_scene

_VISUAL_GROUP = 2
_NOSLIP_ITERATIONS = 5
_TABLE_RGBA = (0.78, 0.70, 0.60, 1.0)
_BIN_RGBA = (0.20, 0.42, 0.62, 1.0)
_DARK = (0.16, 0.17, 0.19, 1.0)


@dataclass(frozen=True)
class ObjectEntry:
    """One object of the scene: its body in the model, where it came from, and its pose at the start."""

    body: str
    name: str
    family: str
    mass_kg: float
    start_pose: tuple[float, ...]  # xyz, quaternion wxyz as MuJoCo has it


@dataclass(frozen=True)
class CellManifest:
    """What is in a compiled cell; plain values, so it can travel beside the model."""

    seed: int
    scene: str
    robot: str
    noise: str
    objects: tuple[ObjectEntry, ...]
    cameras: tuple[CameraMount, ...]


def build_cell(config: CellConfig) -> tuple[mujoco.MjModel, CellManifest]:
    """Compiled model and manifest; the arm's home and the settled objects are keyframe `home`.

    The same configuration gives the same model. ConfigError when the objects do not fit, MeshError when the
    object folder holds no usable mesh, MissingExtra without the robot's meshes.
    """
    objects: tuple[ObjectModel, ...] = ()
    poses: F64 = np.zeros((0, 7))
    if config.n_objects > 0:
        settled = make_scene(config.scene_spec())
        objects, poses = settled.objects, settled.poses
    return build_cell_with(config, objects, poses)


def build_cell_with(
    config: CellConfig, objects: tuple[ObjectModel, ...], poses: F64
) -> tuple[mujoco.MjModel, CellManifest]:
    """As `build_cell`, with given objects at given poses (n, 7)."""
    spec = _empty_cell(config)
    entries = []
    for i, (obj, pose) in enumerate(zip(objects, poses, strict=True)):
        body = f"object_{i}"
        add_object(spec, obj, body, pose)
        entries.append(ObjectEntry(body, obj.name, obj.family, obj.mass_kg, tuple(map(float, pose))))
    home_q = [*panda.HOME_Q, FINGER_TRAVEL_M, FINGER_TRAVEL_M]
    spec.add_key(
        name="home",
        qpos=[*home_q, *(v for e in entries for v in e.start_pose)],
        ctrl=[*panda.HOME_Q, 0.0],
    )
    model = spec.compile()
    manifest = CellManifest(config.seed, config.scene, config.robot, config.noise, tuple(entries), config.cameras)
    return model, manifest


def _empty_cell(config: CellConfig) -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    spec.modelname = "sinew_cell"
    spec.option.timestep = TIMESTEP_S
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.option.noslip_iterations = _NOSLIP_ITERATIONS
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    # Fixed, so that the near and far planes do not depend on the objects.
    spec.stat.extent, spec.stat.center = 1.0, list(layout.WORKSPACE_CENTRE_M)
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 20.0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1920, 1080
    panda.build_arm(spec, max_faces=config.max_faces)
    _add_furniture(spec)
    _add_lights(spec)
    for mount in config.cameras:
        _add_camera(spec, mount)
        _add_camera_case(spec, mount)
    _add_camera(spec, layout.OVERVIEW_CAMERA)
    return spec


def _add_furniture(spec: mujoco.MjSpec) -> None:
    box = mujoco.mjtGeom.mjGEOM_BOX
    world = spec.worldbody
    table = world.add_body(name="table", pos=[*layout.TABLE_CENTRE_M, 0.0])
    table.add_geom(
        name="table_top",
        type=box,
        pos=[0.0, 0.0, -layout.TABLE_THICKNESS_M / 2],
        size=[*layout.TABLE_HALF_M, layout.TABLE_THICKNESS_M / 2],
        friction=[0.8, 0.005, 0.0001],
        condim=4,
        rgba=_TABLE_RGBA,
    )
    leg = -layout.FLOOR_Z_M - layout.TABLE_THICKNESS_M
    for i, (sx, sy) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        hx, hy = layout.TABLE_HALF_M
        table.add_geom(
            name=f"table_leg{i}",
            type=box,
            pos=[sx * (hx - 0.04), sy * (hy - 0.04), layout.FLOOR_Z_M + leg / 2],
            size=[0.03, 0.03, leg / 2],
            contype=0,
            conaffinity=0,
            rgba=_DARK,
        )
    tray = world.add_body(name="bin", pos=[*layout.BIN_CENTRE_M, 0.0])
    for i, (centre, half) in enumerate(layout.bin_walls()):
        tray.add_geom(
            name=f"bin_wall{i}",
            type=box,
            pos=centre - [*layout.BIN_CENTRE_M, 0.0],
            size=half,
            friction=[0.6, 0.005, 0.0001],
            condim=4,
            rgba=_BIN_RGBA,
        )
    tray.add_geom(
        name="bin_mat",  # paint on the table: shows the floor of the bin, touches nothing
        type=box,
        pos=[0.0, 0.0, 0.0005],
        size=[layout.BIN_INNER_M[0] / 2, layout.BIN_INNER_M[1] / 2, 0.0005],
        contype=0,
        conaffinity=0,
        rgba=(0.16, 0.33, 0.48, 1.0),
    )
    spec.add_texture(
        name="floor",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.36, 0.39, 0.42],
        rgb2=[0.40, 0.43, 0.46],
        width=128,
        height=128,
    )
    material = spec.add_material(name="floor", texrepeat=[2.0, 2.0], texuniform=True)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=[0.0, 0.0, layout.FLOOR_Z_M],
        size=[6.0, 6.0, 0.1],
        material="floor",
    )


def _add_lights(spec: mujoco.MjSpec) -> None:
    spec.visual.headlight.ambient = [0.36, 0.36, 0.36]
    spec.visual.headlight.diffuse = [0.24, 0.24, 0.24]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    for position, direction, level in (
        ((1.2, -1.0, 2.2), (-0.4, 0.5, -1.0), 0.42),
        ((-0.4, 1.4, 2.0), (0.4, -0.6, -1.0), 0.20),
    ):
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            pos=position,
            dir=direction,
            diffuse=[level, level, 0.96 * level],
            specular=[0.12, 0.12, 0.12],
            castshadow=level > 0.3,
        )


def _add_camera(spec: mujoco.MjSpec, mount: CameraMount) -> None:
    T = mount.T_body_optical
    _carrier(spec, mount).add_camera(
        name=mount.name, pos=T[:3, 3], quat=_quat_wxyz(T[:3, :3] @ R_CAM_OPTICAL), fovy=mount.fovy_deg
    )


def _add_camera_case(spec: mujoco.MjSpec, mount: CameraMount) -> None:
    T = mount.T_body_optical
    _carrier(spec, mount).add_geom(
        name=f"{mount.name}_case",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=T[:3, 3] - 0.014 * T[:3, 2],  # wholly behind the lens: ray casting must not start inside it
        quat=_quat_wxyz(T[:3, :3]),
        size=[0.045, 0.0125, 0.0125],
        group=_VISUAL_GROUP,
        contype=0,
        conaffinity=0,
        mass=0.0,
        rgba=_DARK,
    )


def _carrier(spec: mujoco.MjSpec, mount: CameraMount) -> mujoco.MjsBody:
    return spec.worldbody if mount.body == layout.BASE_FRAME else spec.body(mount.body)


def _quat_wxyz(R: F64) -> F64:
    out = np.empty(4)
    mujoco.mju_mat2Quat(out, np.ascontiguousarray(R).ravel())
    return out
