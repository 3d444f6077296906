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
from sinew_policies.common.jaw import clear_of_table
from sinew_policies.common.types import F64
from sinew_sim.floating.antipodal import ContactPairs, Surface, pairs_at
from sinew_sim.floating.collision import HandChecker
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
    preferred = orthogonal_unit(direction, np.tile(_DOWN, (len(contact), 1)))
    state, approach = np.full(n, BAD, np.int8), np.zeros((n, 3))
    out_dir, out_width = np.zeros((n, 3)), np.zeros(n)
    order = np.lexsort((_reluctance(pairs), pairs.source))
    for p in order:
        point = pairs.source[p]
        if state[point] == GOOD:
            continue
        verdict, a = _best_roll(checker, T, pairs, int(p), contact, direction, preferred, verdicts, int(tested[p]))
        if verdict == GOOD or (verdict == UNSURE and state[point] == BAD):
            state[point], approach[point] = verdict, a
            out_dir[point], out_width[point] = direction[p], pairs.width_m[p]
    R = T[:3, :3].T
    return np.full(n, index), apply(T, points), normals @ R, out_dir, approach, out_width, state


def _reluctance(pairs: ContactPairs) -> F64:
    """Order in which the pairs of one point are tried: the widest that leaves room, then the others."""
    return np.where(pairs.width_m <= _ROOMY_WIDTH_M, -pairs.width_m, pairs.width_m)


def _best_roll(
    checker: HandChecker,
    T: F64,
    pairs: ContactPairs,
    p: int,
    contact: F64,
    direction: F64,
    preferred: F64,
    verdicts: ObjectGrasps | None,
    tested: int,
) -> tuple[int, F64]:
    width = float(pairs.width_m[p])
    unsure: F64 | None = None
    one = slice(p, p + 1)
    for roll in _ROLLS_RAD:
        a = rotate_about(direction[one], preferred[one], np.array([roll]))
        if a[0, 2] > _MAX_TILT_COS:
            continue
        held = 1
        if verdicts is not None:
            held = int(verdicts.verdict(np.array([tested]), a @ T[:3, :3])[0])
            if held == 0:
                continue
        pose = grasp_poses(contact[one], direction[one], a, pairs.width_m[one])[0]
        clearance = checker.sweep_clearance(clear_of_table(pose, width), width)
        if clearance >= SAFE_CLEARANCE_M and held == 1:
            return GOOD, a[0]
        if clearance >= 0.0 and unsure is None:
            unsure = a[0]
    return (BAD, np.zeros(3)) if unsure is None else (UNSURE, unsure)
