"""Joints of a URDF and the transform each makes for a joint position. No ROS in here."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sinew_policies.common import geometry
from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.types import F64

_KINDS = ("fixed", "revolute", "continuous", "prismatic")


@dataclass(frozen=True)
class Joint:
    name: str
    kind: str
    parent: str
    child: str
    T_parent_origin: F64  # (4, 4)
    axis: F64  # (3,) unit, in the joint frame
    mimic: str = ""  # name of the joint it follows
    mimic_scale: float = 1.0
    mimic_offset: float = 0.0

    def transform(self, position: float) -> F64:
        """T_parent_child (4, 4) at `position` (rad or m)."""
        T = np.eye(4)
        if self.kind == "prismatic":
            T[:3, 3] = self.axis * position
        elif self.kind != "fixed":
            T[:3, :3] = _rotation(self.axis, position)
        return self.T_parent_origin @ T


@dataclass(frozen=True)
class RobotTree:
    root: str
    joints: tuple[Joint, ...]

    @property
    def fixed(self) -> tuple[Joint, ...]:
        return tuple(j for j in self.joints if j.kind == "fixed")

    @property
    def moving(self) -> tuple[Joint, ...]:
        return tuple(j for j in self.joints if j.kind != "fixed")

    def positions(self, given: Mapping[str, float]) -> dict[str, float]:
        """Positions of the moving joints that `given` determines, mimic joints included."""
        out = {}
        for joint in self.moving:
            if joint.name in given:
                out[joint.name] = given[joint.name]
            elif joint.mimic in given:
                out[joint.name] = joint.mimic_scale * given[joint.mimic] + joint.mimic_offset
        return out

    def pose(self, link: str, positions: Mapping[str, float]) -> F64:
        """T_root_link (4, 4); joints that are not given stand at 0."""
        by_child = {j.child: j for j in self.joints}
        if link != self.root and link not in by_child:
            raise ConfigError(f"link '{link}' is not in the URDF; {name_hint(link, [self.root, *by_child])}")
        at = self.positions(positions)
        T = np.eye(4)
        while link != self.root:
            joint = by_child[link]
            T = joint.transform(at.get(joint.name, 0.0)) @ T
            link = joint.parent
        return T


def parse(text: str, where: str = "robot_description") -> RobotTree:
    """Raises ConfigError for text that is no URDF, joints of other kinds, or links that form no single tree."""
    try:
        robot = ET.fromstring(text)
    except ET.ParseError as error:
        raise ConfigError(f"{where} is not XML: {error}") from error
    if robot.tag != "robot":
        raise ConfigError(f"{where} begins with <{robot.tag}>; expected a URDF, <robot>")
    joints = tuple(_joint(e, where) for e in robot.findall("joint"))
    links = [str(e.get("name")) for e in robot.findall("link")]
    children = [j.child for j in joints]
    unknown = {n for j in joints for n in (j.parent, j.child)} - set(links)
    if unknown:
        raise ConfigError(f"{where}: joints name the links {sorted(unknown)}, which do not exist")
    roots = [name for name in links if name not in children]
    if len(roots) != 1 or len(set(children)) != len(children):
        raise ConfigError(f"{where}: links form no single tree; roots are {roots}, expected exactly one")
    reached = {roots[0]}
    while more := {j.child for j in joints if j.parent in reached} - reached:
        reached |= more
    if reached != set(links):
        raise ConfigError(f"{where}: links form no single tree; {sorted(set(links) - reached)} form a loop")
    return RobotTree(roots[0], joints)


def _joint(e: ET.Element, where: str) -> Joint:
    name, kind = str(e.get("name")), str(e.get("type"))
    if kind not in _KINDS:
        raise ConfigError(f"{where}: joint '{name}' is '{kind}'; {name_hint(kind, _KINDS)}")
    origin, axis, mimic = e.find("origin"), e.find("axis"), e.find("mimic")
    parent, child = e.find("parent"), e.find("child")
    if parent is None or child is None:
        raise ConfigError(f"{where}: joint '{name}' lacks its parent or child link")
    xyz = _numbers(origin, "xyz", "0 0 0")
    direction = _numbers(axis, "xyz", "1 0 0")
    length = float(np.linalg.norm(direction))
    if length < 1e-9 and kind != "fixed":
        raise ConfigError(f"{where}: joint '{name}' has the axis {direction.tolist()}; expected a direction")
    return Joint(
        name,
        kind,
        str(parent.get("link")),
        str(child.get("link")),
        geometry.from_rt(_rpy(*_numbers(origin, "rpy", "0 0 0")), xyz),
        direction / max(length, 1e-9),
        "" if mimic is None else str(mimic.get("joint")),
        1.0 if mimic is None else float(mimic.get("multiplier", "1")),
        0.0 if mimic is None else float(mimic.get("offset", "0")),
    )


def _numbers(e: ET.Element | None, attribute: str, default: str) -> F64:
    text = default if e is None else e.get(attribute, default)
    values = np.array([float(v) for v in text.split()])
    if values.shape != (3,) or not np.isfinite(values).all():
        raise ConfigError(f"URDF attribute {attribute}='{text}'; expected three finite numbers")
    return values


def _rpy(roll: float, pitch: float, yaw: float) -> F64:
    """Fixed-axis roll, pitch, yaw, as URDF has it."""
    c, s = np.cos(pitch), np.sin(pitch)
    about_y = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return geometry.rot_z(yaw) @ about_y @ geometry.rot_x(roll)


def _rotation(axis: F64, angle_rad: float) -> F64:
    """Rodrigues."""
    x, y, z = axis
    K = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    R: F64 = np.eye(3) + np.sin(angle_rad) * K + (1.0 - np.cos(angle_rad)) * (K @ K)
    return R
