"""The Franka Panda arm as a MuJoCo model: names, limits and a builder for MjSpec.

Kinematics, inertia and meshes come from the `dm_robotics-panda` wheel (Apache-2.0, folder
`dm_robotics/panda/assets/panda`), which is read as data and never imported. Collision shapes, actuators and
friction fixes are ours: the wheel collides convex hulls of the visual meshes, which are far too fat at the
wrist, and gives joint 6 a negative damping.
"""

import importlib.util
from itertools import pairwise
from pathlib import Path

import mujoco
import numpy as np

from sinew_hardware.interfaces import JointLimits
from sinew_hardware.models.mesh_cache import decimated_mesh
from sinew_hardware.models.panda_hand import add_hand
from sinew_policies.common.errors import MissingExtra
from sinew_policies.common.geometry import HAND_DEPTH_M
from sinew_policies.common.types import F64

JOINT_NAMES: tuple[str, ...] = tuple(f"panda_joint{i}" for i in range(1, 8))
FINGER_JOINT_NAMES = ("panda_finger_joint1", "panda_finger_joint2")
LINK_NAMES: tuple[str, ...] = (
    *(f"panda_link{i}" for i in range(9)),
    "panda_hand",
    "panda_leftfinger",
    "panda_rightfinger",
)
ACTUATOR_NAMES = JOINT_NAMES  # one position servo per joint, named as its joint
HAND_BODY = "panda_hand"
TCP_SITE = "tool0"
FLANGE_OFFSET_M = 0.107  # panda_link7 → panda_link8
HAND_YAW_RAD = -np.pi / 4.0  # panda_link8 → panda_hand, about z

HOME_Q: F64 = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])

LIMITS = JointLimits(
    lower=np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]),
    upper=np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]),
    velocity=np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61]),
    # Four fifths of the controller's own (15, 7.5, 10, 12.5, 15, 20, 20), for stops. Planned motions use a
    # fraction of it (PlannerSettings.speed): what the arm accepts at 1 kHz it answers with reflex stops when
    # the commands arrive at 100 Hz and with a payload.
    acceleration=np.array([12.0, 6.0, 8.0, 10.0, 12.0, 16.0, 16.0]),
    # 0.16 of (7500, 3750, 5000, 6250, 7500, 10000, 10000). At 100 Hz a jerk of 7500 rad/s³ would cross
    # the whole acceleration range within a fifth of one sample and so limit nothing.
    jerk=np.array([1200.0, 600.0, 800.0, 1000.0, 1200.0, 1600.0, 1600.0]),
    effort=np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0]),
)
"""Datasheet position, velocity and effort limits; acceleration and jerk are conservative fractions."""

SERVO_KP: F64 = np.array([6000.0, 6000.0, 5000.0, 5000.0, 3000.0, 3000.0, 3000.0])
SERVO_KV: F64 = np.array([280.0, 280.0, 200.0, 160.0, 60.0, 60.0, 40.0])
"""Position servo of each joint, Nm/rad and Nm·s/rad: about critically damped with the arm half stretched."""

COLLISION_GROUP = 3
VISUAL_GROUP = 2

_ARMATURE_KGM2 = 0.1  # rotor inertia behind the gears; keeps the distal servos stiff and stable
_MIN_DAMPING = 0.05  # Nm·s/rad; replaces the wheel's negative value at joint 6

_WHITE = (0.93, 0.93, 0.93, 1.0)
_GREY = (0.72, 0.74, 0.76, 1.0)
_LINK_RGBA = (_GREY, _WHITE, _WHITE, _WHITE, _WHITE, _WHITE, _WHITE, _GREY)

# Capsules (x0 y0 z0, x1 y1 z1, radius) in metres in each link's frame, fitted around the visual meshes by
# least squares: no surface point of a moving link lies more than 4 mm outside their union.
LINK_CAPSULES: tuple[tuple[tuple[float, ...], ...], ...] = (
    (
        (-0.088, 0.0, 0.020, -0.015, 0.002, 0.045, 0.079),
        (-0.019, 0.049, -0.010, -0.021, -0.049, -0.010, 0.051),
        (-0.006, -0.013, 0.067, 0.0, 0.0, 0.114, 0.060),
        (0.002, 0.0, -0.003, -0.006, -0.007, 0.014, 0.069),
    ),
    (
        (0.0, 0.0, -0.175, 0.0, -0.005, -0.090, 0.057),
        (0.0, -0.076, 0.0, 0.0, -0.014, 0.0, 0.056),
        (0.0, -0.029, -0.064, 0.0, -0.047, -0.028, 0.054),
    ),
    (
        (0.0, 0.0, 0.014, 0.0, 0.0, 0.076, 0.056),
        (0.0, -0.180, 0.0, 0.0, -0.070, 0.003, 0.056),
        (0.0, -0.080, 0.016, 0.0, -0.029, 0.046, 0.054),
    ),
    (
        (0.0, 0.0, -0.110, 0.008, 0.002, -0.040, 0.055),
        (0.083, 0.010, 0.0, 0.083, 0.061, 0.0, 0.055),
        (0.070, -0.010, -0.020, 0.056, 0.054, -0.021, 0.042),
    ),
    (
        (0.0, 0.0, -0.018, 0.0, 0.0, 0.061, 0.055),
        (-0.078, 0.060, 0.002, -0.083, 0.110, 0.0, 0.056),
        (-0.027, 0.021, 0.055, -0.030, 0.028, 0.010, 0.041),
    ),
    (
        (0.0, 0.0, -0.239, 0.0, 0.012, -0.215, 0.058),
        (-0.001, 0.049, -0.183, 0.001, 0.065, -0.160, 0.040),
        (0.0, 0.081, -0.128, 0.0, 0.098, -0.037, 0.032),
        (0.0, 0.089, 0.0, -0.001, -0.002, 0.002, 0.052),
    ),
    (
        (0.002, 0.0, 0.0, 0.002, 0.0, 0.011, 0.051),
        (0.083, 0.041, 0.0, 0.088, -0.031, 0.0, 0.047),
        (0.036, 0.047, 0.013, 0.035, -0.008, 0.032, 0.030),
    ),
    (
        (-0.021, -0.002, 0.075, -0.012, -0.020, 0.076, 0.032),
        (-0.014, 0.014, 0.075, 0.050, 0.049, 0.086, 0.032),
        (0.013, -0.022, 0.076, 0.032, 0.012, 0.077, 0.030),
    ),
)


def asset_folder() -> Path:
    """Folder of the wheel with panda.xml and its meshes; raises MissingExtra when it is not installed."""
    spec = importlib.util.find_spec("dm_robotics")
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(root) / "panda" / "assets" / "panda"
        if (folder / "panda.xml").is_file():
            return folder
    raise MissingExtra("dm_robotics-panda", "sim")


def build_arm(
    spec: mujoco.MjSpec, *, visual: bool = True, collision: bool = True, hand: bool = True, max_faces: int = 1500
) -> mujoco.MjsBody:
    """Adds the arm (and its hand) to the world of `spec`, base at the world origin; returns `panda_link0`.

    Bodies `panda_link0..8`, joints `panda_joint1..7`, one position actuator per joint with the joint's name
    (`ctrl` in rad; lead it by SERVO_KV / SERVO_KP times the velocity to cancel the lag), site `tool0` on the
    hand. Visual meshes are cut to about `max_faces` triangles per link (geom group 2); collision geoms are in
    group 3.
    Raises MissingExtra when the wheel with the meshes is absent.
    """
    folder = asset_folder()
    source = mujoco.MjSpec.from_file(str(folder / "panda.xml"))
    parent = spec.worldbody
    links: list[mujoco.MjsBody] = []
    for i in range(8):
        body = _copy_link(source.body(f"panda_link{i}"), parent)
        if i > 0:
            _copy_joint(source.joint(f"panda_joint{i}"), body, i - 1, spec)
        if visual:
            mesh = decimated_mesh(folder / f"link{i}.obj", max_faces)
            name = f"panda_link{i}_visual"
            spec.add_mesh(name=name, uservert=mesh.vertices.ravel(), userface=mesh.faces.ravel())
            body.add_geom(
                name=name,
                type=mujoco.mjtGeom.mjGEOM_MESH,
                meshname=name,
                rgba=_LINK_RGBA[i],
                contype=0,
                conaffinity=0,
                group=VISUAL_GROUP,
                mass=0.0,
            )
        if collision:
            _add_capsules(body, i)
        links.append(body)
        parent = body
    flange = parent.add_body(name="panda_link8", pos=[0.0, 0.0, FLANGE_OFFSET_M], gravcomp=1.0)
    _add_servos(spec)  # before the hand, so that the arm's actuators come first
    if hand:
        half = HAND_YAW_RAD / 2.0
        hand_body = add_hand(flange, spec, collision=collision, visual=visual, prefix="panda_").body
        hand_body.quat = np.array([np.cos(half), 0.0, 0.0, np.sin(half)])
        hand_body.add_site(name=TCP_SITE, pos=[0.0, 0.0, HAND_DEPTH_M], size=[0.003] * 3, group=5)
    _exclude_neighbours(spec, hand)
    return links[0]


def _copy_link(source: mujoco.MjsBody, parent: mujoco.MjsBody) -> mujoco.MjsBody:
    return parent.add_body(
        name=source.name,
        pos=source.pos,
        quat=source.quat,
        gravcomp=1.0,
        mass=source.mass,
        ipos=source.ipos,
        fullinertia=source.fullinertia,
        explicitinertial=True,
    )


def _copy_joint(source: mujoco.MjsJoint, body: mujoco.MjsBody, index: int, spec: mujoco.MjSpec) -> None:
    # A specification built in code reads angles in degrees unless its compiler says otherwise.
    per_rad = 180.0 / np.pi if spec.compiler.degree else 1.0
    body.add_joint(
        name=source.name,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=[0.0, 0.0, 1.0],
        range=[LIMITS.lower[index] * per_rad, LIMITS.upper[index] * per_rad],
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        damping=np.maximum(np.asarray(source.damping), [_MIN_DAMPING, 0.0, 0.0]),
        frictionloss=source.frictionloss,
        armature=_ARMATURE_KGM2,
    )


def _add_capsules(body: mujoco.MjsBody, index: int) -> None:
    for k, capsule in enumerate(LINK_CAPSULES[index]):
        body.add_geom(
            name=f"panda_link{index}_collision{k}",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            fromto=capsule[:6],
            size=[capsule[6], 0.0, 0.0],
            rgba=(0.9, 0.5, 0.2, 0.4),
            group=COLLISION_GROUP,
            mass=0.0,
        )


def _exclude_neighbours(spec: mujoco.MjSpec, hand: bool) -> None:
    """Links one or two joints apart touch at their bearings by design and cannot collide within limits."""
    chain = [f"panda_link{i}" for i in range(8)]
    pairs = [*pairwise(chain), ("panda_link5", "panda_link7")]
    if hand:
        pairs += [(link, "panda_hand") for link in ("panda_link6", "panda_link7")]
    for a, b in pairs:
        spec.add_exclude(name=f"{a}_{b}", bodyname1=a, bodyname2=b)


def _add_servos(spec: mujoco.MjSpec) -> None:
    for i, name in enumerate(JOINT_NAMES):
        gain = np.zeros(10)
        bias = np.zeros(10)
        gain[0] = SERVO_KP[i]
        bias[1], bias[2] = -SERVO_KP[i], -SERVO_KV[i]
        spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            gaintype=mujoco.mjtGain.mjGAIN_FIXED,
            biastype=mujoco.mjtBias.mjBIAS_AFFINE,
            gainprm=gain,
            biasprm=bias,
            forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE,
            forcerange=[-LIMITS.effort[i], LIMITS.effort[i]],
        )
