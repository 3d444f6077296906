"""From the grasps of a scene and one exposure of it to a label per point."""

import mujoco
import numpy as np
from scipy.spatial import cKDTree

from sinew_policies.common.geometry import apply as transform
from sinew_policies.common.geometry import inverse
from sinew_policies.common.types import F64
from sinew_policies.m2t2.sampling import choose_points
from sinew_policies.m2t2.shards import NO_GRASP, TABLE, UNKNOWN, TrainingScene
from sinew_sim.floating.antipodal import Surface, pairs_at
from sinew_sim.floating.frames import orthogonal_unit
from sinew_sim.floating.scene import FloatingScene
from sinew_sim.floating.scene_grasps import BAD, GOOD, SceneGrasps
from sinew_sim.floating.view import Exposure, TrueHits, true_hits

N_POINTS = 6144
CONTACT_RADIUS_M = 0.006
_SAME_SURFACE_COS = 0.8
_SAME_WIDTH_M = 0.012
_MISPLACED_M = 0.015  # a point this far from its true surface is no contact of anything


def label_points(
    scene: FloatingScene,
    data: mujoco.MjData,
    surfaces: list[Surface],
    grasps: SceneGrasps,
    exposure: Exposure,
    rng: np.random.Generator,
    *,
    scene_id: int,
    seed: int,
    n_points: int = N_POINTS,
) -> TrainingScene:
    """Draws points as the network does, finds what each truly lies on and gives it the nearest contact's grasp.

    A point inherits from a contact on the same side of the same object within 6 mm; direction and width are
    measured afresh at the point itself.
    """
    chosen = choose_points(exposure.xyz, n_points, rng)
    xyz = exposure.xyz[chosen]
    hits = true_hits(scene, data, exposure, chosen)
    label = np.full(n_points, NO_GRASP, np.int16)
    direction, approach = np.zeros((n_points, 3), np.float32), np.zeros((n_points, 3), np.float32)
    width = np.zeros(n_points, np.float32)
    for index, surface in enumerate(surfaces):
        rows = np.flatnonzero(hits.object == index)
        if len(rows):
            _label_object(scene, data, surface, grasps, hits, index, rows, label, direction, approach, width)
    misplaced = np.linalg.norm(xyz - hits.point, axis=1) > _MISPLACED_M
    label[misplaced & (hits.object >= 0)] = UNKNOWN
    direction[label < 0], approach[label < 0], width[label < 0] = 0.0, 0.0, 0.0
    return TrainingScene(
        xyz=xyz,
        object=np.where(hits.object >= 0, hits.object, TABLE).astype(np.int16),
        label=label,
        contact_dir=direction,
        approach_dir=approach,
        width_m=width,
        scene_id=scene_id,
        seed=seed,
    )


def _label_object(
    scene: FloatingScene,
    data: mujoco.MjData,
    surface: Surface,
    grasps: SceneGrasps,
    hits: TrueHits,
    index: int,
    rows: np.ndarray,
    label: np.ndarray,
    direction: np.ndarray,
    approach: np.ndarray,
    width: np.ndarray,
) -> None:
    mine = np.flatnonzero(grasps.object == index)
    if len(mine) == 0:
        return
    near = _neighbours(grasps, mine, hits, rows)
    known = near >= 0
    label[rows[~known]] = UNKNOWN
    rows, near = rows[known], near[known]
    state = grasps.state[near]
    label[rows[(state != GOOD) & (state != BAD)]] = UNKNOWN
    rows, near = rows[state == GOOD], near[state == GOOD]
    if len(rows) == 0:
        return
    T = scene.object_pose(data, index)
    back = inverse(T)
    # A hair inside the surface of the mesh, so that rays start in the solid.
    points, normals = transform(back, hits.point[rows]), hits.normal[rows] @ T[:3, :3]
    pairs = pairs_at(surface, points, normals)
    gap = np.abs(pairs.width_m - grasps.width_m[near[pairs.source]])
    order = np.lexsort((gap, pairs.source))
    source, at = np.unique(pairs.source[order], return_index=True)
    best = order[at]
    label[rows] = UNKNOWN
    fits = gap[best] <= _SAME_WIDTH_M
    best, source = best[fits], source[fits]
    d = pairs.direction[best] @ T[:3, :3].T
    out = rows[source]
    label[out] = index
    direction[out] = d
    approach[out] = orthogonal_unit(d, grasps.approach_dir[near[source]])
    width[out] = pairs.width_m[best]


def _neighbours(grasps: SceneGrasps, mine: np.ndarray, hits: TrueHits, rows: np.ndarray) -> np.ndarray:
    """The nearest tried contact on the same side of the object within reach (R,), -1 where there is none."""
    # The normal, scaled so that 37° weigh as much as the radius, keeps both sides of a thin wall apart.
    weight = CONTACT_RADIUS_M / np.sqrt(2.0 - 2.0 * _SAME_SURFACE_COS)

    def code(points: F64, normals: F64) -> F64:
        return np.concatenate([points, weight * normals], axis=1)

    tree = cKDTree(code(grasps.contact[mine], grasps.normal[mine]))
    distance, at = tree.query(code(hits.point[rows], hits.normal[rows]))
    return np.where(distance <= CONTACT_RADIUS_M * 1.3, mine[np.minimum(at, len(mine) - 1)], -1)
