"""Writes the cell's URDF from the simulator's model, so that TF and physics cannot disagree.

`python -m sinew_sim.cell.urdf > ros2_ws/src/sinew_description/urdf/cell.urdf` renews the committed file;
a test compares the two. Shapes are primitives (the collision capsules and boxes): no mesh files are needed.
"""

import sys
from collections.abc import Iterable
from xml.dom.minidom import parseString
from xml.etree import ElementTree as Xml

import mujoco
import numpy as np

from sinew_hardware.models import panda
from sinew_hardware.models.panda_hand import FINGER_TRAVEL_M
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.geometry import from_rt, inverse, matrix_from_quat
from sinew_policies.common.types import F64
from sinew_sim.cell import layout
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.layout import CameraMount

_WHITE, _GREY, _DARK = "0.93 0.93 0.93 1", "0.72 0.74 0.76 1", "0.3 0.31 0.33 1"
_FINGER_SPEED_MPS, _FINGER_FORCE_N = 0.1, 70.0
# REP-103: a camera's body looks along +x with z up; its optical frame along +z with y down.
_T_LINK_OPTICAL: F64 = from_rt(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def cell_urdf() -> str:
    """The whole cell as URDF text; root link `base_link`."""
    config = CellConfig(n_objects=0)
    model, manifest = build_cell(config)
    robot = Xml.Element("robot", name="sinew_cell")
    Xml.SubElement(robot, "link", name=layout.BASE_FRAME)
    for name in panda.LINK_NAMES:
        _robot_link(robot, model, name)
    _fixed(robot, panda.HAND_BODY, panda.TCP_SITE, _site_pose(model, panda.TCP_SITE))
    Xml.SubElement(robot, "link", name=panda.TCP_SITE)
    for name in ("table", "bin"):
        body = model.body(name)
        link = Xml.SubElement(robot, "link", name=name)
        _shapes(link, model, [g for g in _geoms(model, body.id) if model.geom_contype[g]], None)
        _fixed(robot, layout.BASE_FRAME, name, from_rt(np.eye(3), body.pos))
    for mount in manifest.cameras:
        _camera(robot, mount)
    text = parseString(Xml.tostring(robot)).toprettyxml(indent=" ")
    return text.replace('<?xml version="1.0" ?>', '<?xml version="1.0"?>')


def main() -> None:
    sys.stdout.write(cell_urdf())


def _robot_link(robot: Xml.Element, model: mujoco.MjModel, name: str) -> None:
    body = model.body(name)
    link = Xml.SubElement(robot, "link", name=name)
    if body.mass[0] > 0.0:
        inertial = Xml.SubElement(link, "inertial")
        _origin(inertial, from_rt(_rotation(body.iquat), body.ipos))
        Xml.SubElement(inertial, "mass", value=_number(body.mass[0]))
        ixx, iyy, izz = map(_number, body.inertia)
        Xml.SubElement(inertial, "inertia", ixx=ixx, ixy="0", ixz="0", iyy=iyy, iyz="0", izz=izz)
    colour = _DARK if "finger" in name else _GREY if name in ("panda_link0", "panda_link7") else _WHITE
    _shapes(link, model, [g for g in _geoms(model, body.id) if model.geom_group[g] == 3], colour)
    parent = layout.BASE_FRAME if name == "panda_link0" else model.body(int(body.parentid[0])).name
    T_parent_link = from_rt(_rotation(body.quat), body.pos)
    if body.jntnum[0] == 0:
        _fixed(robot, parent, name, T_parent_link)
    else:
        _moving(robot, model, int(body.jntadr[0]), parent, name, T_parent_link)


def _moving(robot: Xml.Element, model: mujoco.MjModel, j: int, parent: str, child: str, T: F64) -> None:
    name = model.joint(j).name
    hinge = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
    joint = Xml.SubElement(robot, "joint", name=name, type="revolute" if hinge else "prismatic")
    _ends(joint, parent, child, T)
    Xml.SubElement(joint, "axis", xyz=_numbers(model.jnt_axis[j]))
    if hinge:
        i = panda.JOINT_NAMES.index(name)
        lower, upper = panda.LIMITS.lower[i], panda.LIMITS.upper[i]
        velocity, effort = panda.LIMITS.velocity[i], panda.LIMITS.effort[i]
    else:
        lower, upper, velocity, effort = 0.0, FINGER_TRAVEL_M, _FINGER_SPEED_MPS, _FINGER_FORCE_N
    Xml.SubElement(
        joint,
        "limit",
        lower=_number(lower),
        upper=_number(upper),
        velocity=_number(velocity),
        effort=_number(effort),
    )
    if name == panda.FINGER_JOINT_NAMES[1]:
        Xml.SubElement(joint, "mimic", joint=panda.FINGER_JOINT_NAMES[0])


def _camera(robot: Xml.Element, mount: CameraMount) -> None:
    link = Xml.SubElement(robot, "link", name=f"{mount.name}_link")
    case = from_rt(np.eye(3), [-0.014, 0.0, 0.0])
    _box(link, case, np.array([0.0125, 0.045, 0.0125]), _DARK, ("visual",))
    _fixed(robot, mount.body, f"{mount.name}_link", mount.T_body_optical @ inverse(_T_LINK_OPTICAL))
    Xml.SubElement(robot, "link", name=mount.optical_frame)
    _fixed(robot, f"{mount.name}_link", mount.optical_frame, _T_LINK_OPTICAL)


def _shapes(link: Xml.Element, model: mujoco.MjModel, geoms: Iterable[int], colour: str | None) -> None:
    for g in geoms:
        T = from_rt(_rotation(model.geom_quat[g]), model.geom_pos[g])
        size = model.geom_size[g]
        rgba = colour or _numbers(model.geom_rgba[g])
        if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX:
            _box(link, T, size, rgba, ("visual", "collision"))
        elif model.geom_type[g] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            radius, half = _number(size[0]), float(size[1])
            _shape(link, T, "cylinder", {"radius": radius, "length": _number(2 * half)}, rgba)
            for end in (half, -half):
                _shape(link, T @ from_rt(np.eye(3), [0.0, 0.0, end]), "sphere", {"radius": radius}, rgba)
        else:
            kind = mujoco.mjtGeom(model.geom_type[g]).name
            raise ConfigError(
                f"URDF of {link.get('name')}: a collision geom is {kind}; only mjGEOM_BOX and mjGEOM_CAPSULE "
                "have a primitive in URDF: change the model's geom"
            )


def _box(link: Xml.Element, T: F64, half: F64, rgba: str, uses: tuple[str, ...]) -> None:
    _shape(link, T, "box", {"size": _numbers(2.0 * half)}, rgba, uses)


def _shape(
    link: Xml.Element,
    T: F64,
    kind: str,
    attributes: dict[str, str],
    rgba: str,
    uses: tuple[str, ...] = ("visual", "collision"),
) -> None:
    for use in uses:
        element = Xml.SubElement(link, use)
        _origin(element, T)
        Xml.SubElement(Xml.SubElement(element, "geometry"), kind, attributes)
        if use == "visual":
            material = Xml.SubElement(element, "material", name="rgba " + rgba)
            Xml.SubElement(material, "color", rgba=rgba)


def _fixed(robot: Xml.Element, parent: str, child: str, T: F64) -> None:
    _ends(Xml.SubElement(robot, "joint", name=f"{child}_fixed", type="fixed"), parent, child, T)


def _ends(joint: Xml.Element, parent: str, child: str, T: F64) -> None:
    Xml.SubElement(joint, "parent", link=parent)
    Xml.SubElement(joint, "child", link=child)
    _origin(joint, T)


def _origin(element: Xml.Element, T: F64) -> None:
    """URDF's rpy: rotation about fixed x, then y, then z."""
    R = T[:3, :3]
    pitch = np.arctan2(-R[2, 0], np.hypot(R[0, 0], R[1, 0]))
    if np.hypot(R[0, 0], R[1, 0]) > 1e-9:
        roll, yaw = np.arctan2(R[2, 1], R[2, 2]), np.arctan2(R[1, 0], R[0, 0])
    else:  # looking straight up or down: only the sum of roll and yaw is defined
        roll, yaw = 0.0, np.arctan2(-R[0, 1], R[1, 1])
    Xml.SubElement(element, "origin", xyz=_numbers(T[:3, 3]), rpy=_numbers((roll, pitch, yaw)))


def _site_pose(model: mujoco.MjModel, name: str) -> F64:
    site = model.site(name)
    return from_rt(_rotation(site.quat), site.pos)


def _geoms(model: mujoco.MjModel, body: int) -> range:
    first = int(model.body_geomadr[body])
    return range(first, first + int(model.body_geomnum[body]))


def _rotation(quat_wxyz: F64) -> F64:
    return matrix_from_quat(np.roll(quat_wxyz, -1))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(map(_number, values))


def _number(value: float) -> str:
    """Nine decimals: under 1 nm and 1 nrad, and stable over the last bits of different machines."""
    return f"{round(float(value), 9) + 0.0:.9g}"


if __name__ == "__main__":
    main()
