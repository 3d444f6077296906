"""Every good grasp of a settled scene: contacts spread over all objects, free of collisions, held in physics.

Of the grasps that share a contact one is kept, by a rule that varies smoothly with the geometry: the
free approach nearest to straight down. A network can learn such a choice; it could not learn a draw. The rule
knows no direction but the vertical, so labels stay right when a scene is turned about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.geometry import apply
from sinew_policies.common.jaw import clear_all_of_table, clear_of_table
from sinew_policies.common.types import F64
from sinew_sim.floating.antipodal import ContactPairs, Surface, pairs_at
from sinew_sim.floating.collision import HandChecker, lowest_points
from sinew_sim.floating.frames import grasp_poses, orthogonal_unit, rotate_about
from sinew_sim.floating.object_grasps import ObjectGrasps
from sinew_sim.floating.scene import FloatingScene

GOOD, BAD, UNSURE = 1, 0, -1
SAFE_CLEARANCE_M = 0.002
_DOWN = np.array([0.0, 0.0, -1.0])
_MAX_TILT_COS = -0.17  # approaches nearer to the horizontal than 10° are not offered
_ROLLS_RAD = tuple(np.deg2rad([0.0, 25.0, -25.0, 50.0, -50.0, 75.0, -75.0]))
_ROOMY_WIDTH_M = 0.065  # wider pairs leave little room beside the fingers; a thinner wall is tried first


@dataclass(frozen=True)
class SceneGrasps:
    """G contacts in base_link; `state` says GOOD, BAD or UNSURE and the other columns count where GOOD."""

    object: NDArray[np.int64]  # (G,)
    contact: F64  # (G, 3)
    normal: F64  # (G, 3) outward
    contact_dir: F64  # (G, 3)
    approach_dir: F64  # (G, 3)
    width_m: F64  # (G,)
    state: NDArray[np.int8]  # (G,)

    def pose(self, index: int) -> F64:
        """Grasp frame (4, 4) as an executor takes it: fingertips clear of the table."""
        one = slice(index, index + 1)
        T = grasp_poses(self.contact[one], self.contact_dir[one], self.approach_dir[one], self.width_m[one])[0]
        return clear_of_table(T, float(self.width_m[index]))

    def good(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.state == GOOD)


def find_grasps(
    scene: FloatingScene,
    data: mujoco.MjData,
    surfaces: Sequence[Surface],
    grasps: Sequence[ObjectGrasps | None],
    points_per_object: int,
    rng: np.random.Generator,
    *,
    present: Sequence[bool] | None = None,
) -> SceneGrasps:
    """Tries contacts spread over every object. Without physics verdicts (None) geometry alone decides."""
    checker = HandChecker(scene, data)
    found = [
        _object(scene, data, checker, i, surfaces[i], grasps[i], points_per_object, rng)
        for i in range(len(scene.objects))
        if present is None or present[i]
    ]
    return SceneGrasps(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _object(
    scene: FloatingScene,
    data: mujoco.MjData,
    checker: HandChecker,
    index: int,
    surface: Surface,
    verdicts: ObjectGrasps | None,
    n: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], F64, F64, F64, F64, F64, NDArray[np.int8]]:
    T = scene.object_pose(data, index)
    points, normals = surface.sample(n, rng)
    pairs = pairs_at(surface, points, normals)
    contact, direction = apply(T, pairs.contact), pairs.direction @ T[:3, :3].T
    tested = verdicts.nearest(pairs) if verdicts else np.full(len(pairs), -1, np.int64)
    approach, held = _approaches(T, direction, verdicts, tested)  # (P, R, 3), (P, R)
    P, R = held.shape
    rows = np.repeat(np.arange(P), R)
    flat = approach.reshape(-1, 3)
    width = pairs.width_m[rows]
    poses = clear_all_of_table(grasp_poses(contact[rows], direction[rows], flat, width), width)
    # A hand in the table needs no collision query.
    worth = (held != BAD) & ((lowest_points(poses, width) >= 0.0) & (flat[:, 2] <= _MAX_TILT_COS)).reshape(P, R)
    poses = poses.reshape(P, R, 4, 4)

    state, out_approach = np.full(n, BAD, np.int8), np.zeros((n, 3))
    out_dir, out_width = np.zeros((n, 3)), np.zeros(n)
    for p in np.lexsort((_reluctance(pairs), pairs.source)):
        point = pairs.source[p]
        if state[point] == GOOD:
            continue
        found, roll = _first_free(checker, poses[p], float(pairs.width_m[p]), held[p], worth[p])
        if found == GOOD or (found == UNSURE and state[point] == BAD):
            state[point], out_approach[point] = found, approach[p, roll]
            out_dir[point], out_width[point] = direction[p], pairs.width_m[p]
    back = T[:3, :3].T
    return np.full(n, index), apply(T, points), normals @ back, out_dir, out_approach, out_width, state


def _approaches(
    T: F64, direction: F64, verdicts: ObjectGrasps | None, tested: NDArray[np.int64]
) -> tuple[F64, NDArray[np.int8]]:
    """Approach directions (P, R, 3), nearest to the vertical first, and their physics verdicts (P, R)."""
    down = orthogonal_unit(direction, np.tile(_DOWN, (len(direction), 1)))
    rolled = [rotate_about(direction, down, np.full(len(down), roll)) for roll in _ROLLS_RAD]
    if verdicts is None:
        held = [np.full(len(down), GOOD, np.int8) for _ in rolled]
    else:
        held = [verdicts.verdict(tested, a @ T[:3, :3]) for a in rolled]
    return np.stack(rolled, axis=1), np.stack(held, axis=1)


def _first_free(
    checker: HandChecker, poses: F64, width_m: float, held: NDArray[np.int8], worth: NDArray[np.bool_]
) -> tuple[int, int]:
    """(state, roll) of the first roll that is free and held, else of the first that might be."""
    unsure = -1
    for roll in np.flatnonzero(worth):
        clearance = checker.sweep_clearance(poses[roll], width_m)
        if clearance >= SAFE_CLEARANCE_M and held[roll] == GOOD:
            return GOOD, int(roll)
        if clearance >= 0.0 and unsure < 0:
            unsure = int(roll)
    return (BAD, 0) if unsure < 0 else (UNSURE, unsure)


def _reluctance(pairs: ContactPairs) -> F64:
    """Order in which the pairs of one point are tried: the widest that leaves room, then the others."""
    return np.where(pairs.width_m <= _ROOMY_WIDTH_M, -pairs.width_m, pairs.width_m)
