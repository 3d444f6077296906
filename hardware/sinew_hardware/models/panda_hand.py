"""The Panda hand as a MuJoCo body tree: primitive collision geometry, box pads, force-controlled grip.

Frames are those of the robot's own URDF: `panda_hand` has z along the approach and closes along y, the
left finger opens towards +y, the right one towards -y, each finger joint runs 0..0.04 m and both are
coupled. Visual meshes come from the installed `dm_robotics-panda` wheel and are decimated when loaded.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from sinew_policies.common.errors import MissingExtra
from sinew_policies.common.geometry import HAND_DEPTH_M
from sinew_policies.common.types import F64, I32

MAX_WIDTH_M = 0.08
FINGER_TRAVEL_M = 0.04
DEFAULT_FORCE_N = 30.0
FORCE_RANGE_N = (10.0, 60.0)
FINGER_JOINTS = ("finger_joint1", "finger_joint2")
ACTUATOR = "hand_actuator"
TCP_SITE = "tcp"
FINGERTIP_Z_M = HAND_DEPTH_M + 0.0089
"""Fingertips end here along the hand's z; the contact line lies 8.9 mm behind."""

PAD_FRICTION = (0.8, 0.02, 0.0001)
_FINGER_Z_M = 0.0584  # origin of the finger frames in the hand
_ACTUATOR_LIMIT_N = 70.0  # continuous limit of the real hand
# A finger pushed by 30 N travels at 0.25 m/s: fast enough to close in a quarter second, slow enough not to
# throw a light object out of the jaw. At rest the whole force reaches the object.
_FINGER_DAMPING = 120.0


@dataclass(frozen=True)
class Box:
    """Axis-aligned box in its body's frame: `centre` and half sizes, metres."""

    name: str
    centre: tuple[float, float, float]
    half: tuple[float, float, float]


PALM_BOXES = (
    Box("palm", (0.0, 0.0, 0.027), (0.0215, 0.1025, 0.039)),
    Box("flange", (0.0, 0.0, 0.0), (0.0315, 0.06, 0.012)),
)
FINGER_BOXES = (
    Box("base", (0.0, 0.0172, 0.0095), (0.0105, 0.0091, 0.0095)),
    Box("neck", (0.0, 0.0158, 0.0275), (0.0100, 0.0073, 0.0085)),
)
PAD_BOX = Box("pad", (0.0, 0.0072, 0.0449), (0.0100, 0.0072, 0.0090))
"""In the left finger's frame; the right finger mirrors y. The pad's inner face is y = 0."""


@dataclass(frozen=True)
class HandParts:
    """Handles into the specification; names are the prefix plus the constants of this module."""

    body: mujoco.MjsBody
    left: mujoco.MjsBody
    right: mujoco.MjsBody
    prefix: str


def add_hand(
    parent: mujoco.MjsBody,
    spec: mujoco.MjSpec,
    *,
    collision: bool = True,
    visual: bool = True,
    prefix: str = "panda_",
    gravity_compensation: float = 1.0,
) -> HandParts:
    """Adds the hand at the origin of `parent` (give `parent` the pose, or move the returned body).

    Actuator `<prefix>hand_actuator`: ctrl is the force on EACH finger in newtons, positive opens, negative
    closes (ctrl = -30 grips with 30 N per finger). Its tendon `<prefix>hand_width` has the total opening in
    metres as length. Site `<prefix>tcp` sits on the contact line.
    """
    hand = parent.add_body(name=f"{prefix}hand", gravcomp=gravity_compensation)
    _inertia(hand, 0.73, (-0.01, 0.0, 0.03), (1e-3, 2.5e-3, 1.7e-3))
    hand.add_site(name=f"{prefix}{TCP_SITE}", pos=[0.0, 0.0, HAND_DEPTH_M], size=[0.003] * 3, group=5)
    left, right = (_add_finger(hand, side, prefix, gravity_compensation) for side in ("left", "right"))
    if collision:
        for box in PALM_BOXES:
            _add_box(hand, box, f"{prefix}hand_{box.name}", 1.0)
        for finger, side, sign in ((left, "left", 1.0), (right, "right", -1.0)):
            for box in FINGER_BOXES:
                _add_box(finger, box, f"{prefix}{side}finger_{box.name}", sign)
            _make_pad(_add_box(finger, PAD_BOX, f"{prefix}{side}finger_pad", sign))
        # The joint stops meet exactly where the pads do; contact between them would only add noise. Palm and
        # fingers slide past each other, and MuJoCo filters parents only where they can move.
        for a, b in ((left, right), (hand, left), (hand, right)):
            spec.add_exclude(name=f"{a.name}_{b.name}", bodyname1=a.name, bodyname2=b.name)
    if visual:
        _add_visuals(spec, hand, left, right, prefix)
    _couple_and_actuate(spec, prefix)
    return HandParts(hand, left, right, prefix)


def boxes_in_hand(width_m: float) -> tuple[F64, F64]:
    """Collision boxes of a hand opened to `width_m`, hand frame: centres (K, 3), half sizes (K, 3)."""
    centres, halves = [b.centre for b in PALM_BOXES], [b.half for b in PALM_BOXES]
    for sign in (1.0, -1.0):
        for box in (*FINGER_BOXES, PAD_BOX):
            x, y, z = box.centre
            centres.append((x, sign * (y + width_m / 2.0), z + _FINGER_Z_M))
            halves.append(box.half)
    return np.array(centres), np.array(halves)


def asset_folder() -> Path:
    """Folder with the Panda's OBJ meshes, found without importing the package that ships them."""
    found = find_spec("dm_robotics")
    for root in found.submodule_search_locations or () if found else ():
        folder = Path(root) / "panda" / "assets" / "panda"
        if (folder / "hand.obj").is_file():
            return folder
    raise MissingExtra("dm_robotics-panda", "sim")


@lru_cache(maxsize=32)
def decimated_mesh(name: str, faces: int) -> tuple[F64, I32]:
    """Vertices (V, 3) and faces (F, 3) of `<name>.obj` of the wheel, reduced to about `faces` faces."""
    import trimesh

    mesh = trimesh.load_mesh(asset_folder() / f"{name}.obj", process=True)
    assert isinstance(mesh, trimesh.Trimesh)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    if len(mesh.faces) > faces:
        mesh = mesh.simplify_quadric_decimation(face_count=faces)
    return np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)


def _inertia(
    body: mujoco.MjsBody,
    mass: float,
    centre: tuple[float, float, float],
    diagonal: tuple[float, float, float],
) -> None:
    body.explicitinertial = True
    body.mass, body.ipos, body.inertia = mass, list(centre), list(diagonal)


def _add_finger(hand: mujoco.MjsBody, side: str, prefix: str, gravcomp: float) -> mujoco.MjsBody:
    finger = hand.add_body(name=f"{prefix}{side}finger", pos=[0.0, 0.0, _FINGER_Z_M], gravcomp=gravcomp)
    sign = 1.0 if side == "left" else -1.0
    _inertia(finger, 0.015, (0.0, sign * 0.012, 0.025), (2.4e-6, 2.4e-6, 7.5e-7))
    finger.add_joint(
        name=f"{prefix}{FINGER_JOINTS[0 if side == 'left' else 1]}",
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[0.0, sign, 0.0],
        limited=True,
        range=[0.0, FINGER_TRAVEL_M],
        armature=0.1,
        damping=np.array([_FINGER_DAMPING, 0.0, 0.0]),
        solref_limit=[0.005, 1.0],
    )
    return finger


def _add_box(body: mujoco.MjsBody, box: Box, name: str, sign: float) -> mujoco.MjsGeom:
    x, y, z = box.centre
    return body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[x, sign * y, z],
        size=list(box.half),
        group=3,
        condim=4,
        mass=0.0,
        rgba=[0.5, 0.6, 0.8, 0.4],
    )


def _make_pad(geom: mujoco.MjsGeom) -> None:
    geom.priority = 1
    geom.friction = list(PAD_FRICTION)
    geom.solref = [0.004, 1.0]
    geom.solimp = [0.95, 0.99, 0.001, 0.5, 2.0]


def _add_visuals(
    spec: mujoco.MjSpec, hand: mujoco.MjsBody, left: mujoco.MjsBody, right: mujoco.MjsBody, prefix: str
) -> None:
    for name, faces in (("hand", 700), ("finger", 200)):
        vertices, triangles = decimated_mesh(name, faces)
        spec.add_mesh(
            name=f"{prefix}{name}_mesh",
            uservert=vertices.ravel(),
            userface=triangles.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
    turned = [0.0, 0.0, 0.0, 1.0]  # half a turn about z, wxyz
    for body, mesh, quat, shade in (
        (hand, "hand", [1.0, 0.0, 0.0, 0.0], 0.93),
        (left, "finger", [1.0, 0.0, 0.0, 0.0], 0.55),
        (right, "finger", turned, 0.55),
    ):
        body.add_geom(
            name=f"{body.name}_visual",
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=f"{prefix}{mesh}_mesh",
            quat=quat,
            group=2,
            contype=0,
            conaffinity=0,
            mass=0.0,
            rgba=[shade, shade, shade + 0.02, 1.0],
        )


def _couple_and_actuate(spec: mujoco.MjSpec, prefix: str) -> None:
    left, right = (f"{prefix}{joint}" for joint in FINGER_JOINTS)
    spec.add_equality(
        name=f"{prefix}fingers_coupled",
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=left,
        name2=right,
        data=[0.0, 1.0, *([0.0] * (mujoco.mjNEQDATA - 2))],
        solref=[0.005, 1.0],
        solimp=[0.95, 0.99, 0.001, 0.5, 2.0],
    )
    tendon = spec.add_tendon(name=f"{prefix}hand_width")
    tendon.wrap_joint(left, 1.0)
    tendon.wrap_joint(right, 1.0)
    actuator = spec.add_actuator(
        name=f"{prefix}{ACTUATOR}",
        trntype=mujoco.mjtTrn.mjTRN_TENDON,
        target=f"{prefix}hand_width",
        ctrllimited=True,
        ctrlrange=[-_ACTUATOR_LIMIT_N, _ACTUATOR_LIMIT_N],
    )
    actuator.set_to_motor()
