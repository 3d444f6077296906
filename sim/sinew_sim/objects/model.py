"""An object as both the renderer and the physics need it: one visual mesh and a few convex pieces."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from sinew_policies.common.types import F64, I32
from sinew_sim.objects.convex import Hull

VISUAL_GROUP = 2
HULL_GROUP = 3

_TORSION_M = 0.005  # torsional friction of a fingertip-sized patch
_ROLLING_M = 0.0001
# Stiffer than MuJoCo's default, so that a 0.8 kg object at rest sinks well under 0.1 mm into the table.
_SOLREF = (0.008, 1.0)
_SOLIMP = (0.95, 0.99, 0.001, 0.5, 2.0)
# Air drag and rolling resistance in one: without it a ball or cylinder never comes to rest.
_FREE_DAMPING = 1e-4


@dataclass(frozen=True, eq=False)
class ObjectModel:
    """Origin at the centre of mass, z up when the object stands; lengths in metres."""

    name: str
    family: str
    vertices: F64  # (V, 3)
    faces: I32  # (F, 3) outward
    hulls: tuple[Hull, ...]
    mass_kg: float
    friction: float  # sliding coefficient
    rgba: tuple[float, float, float, float]

    @property
    def standing_height_m(self) -> float:
        """Height of the origin above the table when the object stands."""
        return -float(min(v[:, 2].min() for v, _ in self.hulls))

    @property
    def extents_m(self) -> F64:
        """Side lengths (3,) of the axis-aligned box around the visual mesh."""
        return np.ptp(self.vertices, axis=0)

    @property
    def radius_xy_m(self) -> float:
        """Radius of the vertical cylinder about the origin that holds the hulls."""
        return float(max(np.hypot(v[:, 0], v[:, 1]).max() for v, _ in self.hulls))

    @property
    def hull_points(self) -> F64:
        """All hull vertices, (N, 3)."""
        return np.concatenate([v for v, _ in self.hulls])

    def inertia(self) -> tuple[F64, F64]:
        """Centre of mass (3,) and inertia tensor (3, 3) about it in kg m², uniform density over the hulls."""
        volume, com, unit = mass_properties(self.hulls)
        return com, unit * (self.mass_kg / volume)

    def content_hash(self) -> str:
        """sha256 of the geometry (to a micrometre) and of the physical parameters."""
        h = hashlib.sha256()
        for v, f in ((self.vertices, self.faces), *self.hulls):
            h.update(np.round(np.asarray(v, np.float64) * 1e6).astype(np.int64).tobytes())
            h.update(np.asarray(f, np.int32).tobytes())
        h.update(np.array([self.mass_kg, self.friction, *self.rgba], np.float32).tobytes())
        return h.hexdigest()


def add_object(
    spec: mujoco.MjSpec, obj: ObjectModel, name: str, pose: ArrayLike, *, visual: bool = True
) -> mujoco.MjsBody:
    """Adds a free body `name` with its visual mesh (group 2) and collision hulls (group 3, condim 4).

    `pose` is (7,): position in metres and MuJoCo's quaternion wxyz, both in the world frame. Joint `name`,
    geoms `{name}_visual` and `{name}_hull{i}`. `visual=False` leaves the visual mesh out (faster to compile).
    """
    pose = np.asarray(pose, np.float64)
    body = spec.worldbody.add_body(name=name, pos=pose[:3], quat=pose[3:7])
    # align=0: MuJoCo must not turn the body frame into the inertia frame; poses are those of the mesh.
    joint = body.add_freejoint(name=name, align=0)
    joint.damping = [_FREE_DAMPING, 0.0, 0.0]
    com, inertia = obj.inertia()
    body.explicitinertial = True
    body.mass = obj.mass_kg
    body.ipos = com
    diag = [inertia[0, 0], inertia[1, 1], inertia[2, 2]]
    body.fullinertia = [*diag, inertia[0, 1], inertia[0, 2], inertia[1, 2]]
    if visual:
        _add_visual(spec, body, obj, name)
    for i, (vertices, faces) in enumerate(obj.hulls):
        hull = f"{name}_hull{i}"
        _add_mesh(spec, hull, vertices, faces, mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
        body.add_geom(
            name=hull,
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=hull,
            group=HULL_GROUP,
            condim=4,
            friction=[obj.friction, _TORSION_M, _ROLLING_M],
            solref=_SOLREF,
            solimp=_SOLIMP,
            mass=0.0,
            rgba=[*obj.rgba[:3], 0.4],
        )
    return body


def mass_properties(hulls: Sequence[Hull]) -> tuple[float, F64, F64]:
    """Volume (m³), centroid (3,) and inertia about it per unit density (3, 3) of the hulls' union.

    Overlaps count twice; pieces from a decomposition barely overlap.
    """
    volume, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    for v, f in hulls:
        tri = np.asarray(v)[np.asarray(f)]  # (f, 3 corners, 3)
        det = np.linalg.det(tri)  # six times the signed volume of each tetrahedron to the origin
        total = tri.sum(axis=1)
        volume += float(det.sum()) / 6.0
        first += (det[:, None] * total).sum(axis=0) / 24.0
        # ∫ x xᵀ over a tetrahedron with one corner at the origin = det/120 (Σ p pᵀ + s sᵀ), s = Σ p.
        corners = np.einsum("n,nki,nkj->ij", det, tri, tri)
        second += (corners + np.einsum("n,ni,nj->ij", det, total, total)) / 120.0
    com = first / volume
    second = second - volume * np.outer(com, com)
    return volume, com, np.trace(second) * np.eye(3) - second


def _add_visual(spec: mujoco.MjSpec, body: mujoco.MjsBody, obj: ObjectModel, name: str) -> None:
    _add_mesh(spec, f"{name}_visual", obj.vertices, obj.faces, mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    body.add_geom(
        name=f"{name}_visual",
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=f"{name}_visual",
        group=VISUAL_GROUP,
        contype=0,
        conaffinity=0,
        mass=0.0,
        rgba=obj.rgba,
    )


def _add_mesh(spec: mujoco.MjSpec, name: str, vertices: F64, faces: I32, inertia: mujoco.mjtMeshInertia) -> None:
    spec.add_mesh(
        name=name,
        uservert=np.ascontiguousarray(vertices, np.float64).ravel(),
        userface=np.ascontiguousarray(faces, np.int32).ravel(),
        inertia=inertia,
    )
