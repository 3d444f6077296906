"""What is evaluated: the network and three baselines, all through the same filters and the same executor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.spatial import cKDTree

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.types import F64, Grasp, GraspSet, PointCloud
from sinew_policies.m2t2.postprocess import PostprocessConfig, filter_grasps
from sinew_sim.evaluation.cloud_shapes import clusters, estimate_normals
from sinew_sim.floating.antipodal import Surface
from sinew_sim.floating.execute import FloatingHand
from sinew_sim.floating.frames import grasp_poses, orthogonal_unit, rotate_about
from sinew_sim.floating.scene_grasps import find_grasps

BASELINES = ("random-antipodal", "top-down", "oracle-antipodal")
NETWORK = "m2t2"
_TABLE_NOISE_M = 0.008
_DOWN = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True)
class Observation:
    cloud: PointCloud  # base_link, cropped to the workspace
    hand: FloatingHand  # the world itself; only the oracle may look


class GraspPolicy(Protocol):
    name: str

    def propose(self, seen: Observation, seed: int) -> GraspSet:
        """Ranked grasps, executable ones first."""
        ...


def make_policy(name: str, weights: Path | None) -> GraspPolicy:
    """A policy by name: m2t2 or one of BASELINES."""
    if name == NETWORK:
        return NetworkPolicy(weights)
    made: dict[str, type[RandomAntipodal] | type[TopDown] | type[OracleAntipodal]] = {
        "random-antipodal": RandomAntipodal,
        "top-down": TopDown,
        "oracle-antipodal": OracleAntipodal,
    }
    if name not in made:
        raise ConfigError(f"unknown grasp policy '{name}'; {name_hint(name, (NETWORK, *BASELINES))}")
    return made[name]()


class NetworkPolicy:
    """M2T2 through the very chain that the ROS node runs."""

    name = NETWORK

    def __init__(self, weights: Path | None) -> None:
        import torch

        from sinew_policies.m2t2.predictor import Predictor

        torch.set_num_threads(1)
        self._predictor = Predictor.from_pretrained(weights, device="cpu")
        self._predictor.warm_up()

    def propose(self, seen: Observation, seed: int) -> GraspSet:
        from sinew_policies.m2t2.pipeline import propose

        return propose(self._predictor, seen.cloud, seed=seed)


class RandomAntipodal:
    """Closes along the surface normal at random cloud points; random collision-free choice."""

    name = "random-antipodal"
    _candidates = 200

    def propose(self, seen: Observation, seed: int) -> GraspSet:
        rng = np.random.default_rng(seed)
        xyz = seen.cloud.xyz[seen.cloud.xyz[:, 2] > _TABLE_NOISE_M].astype(np.float64)
        if len(xyz) < 50:
            return GraspSet((), seen.cloud.frame_id, seen.cloud.stamp_ns)
        # Thinned for speed: normals of 2,500 points say as much as those of 40,000.
        xyz = xyz[rng.permutation(len(xyz))[:2500]]
        at = rng.integers(len(xyz), size=self._candidates)
        normals = estimate_normals(xyz, at, towards=np.array([1.1, 0.12, 0.84]))
        contact, direction = xyz[at], -normals
        width = _extent_along(xyz, contact, direction)
        roll = rng.uniform(-np.pi / 2, np.pi / 2, len(at))
        down = orthogonal_unit(direction, np.tile(_DOWN, (len(at), 1)))
        T = grasp_poses(contact, direction, rotate_about(direction, down, roll), width)
        score = rng.random(len(at))
        grasps = [Grasp(T[i], float(width[i]), float(score[i]), contact[i]) for i in np.flatnonzero(width <= 0.078)]
        return _filtered(grasps, seen.cloud)


class TopDown:
    """Vertical grasps across the narrow side of each cluster of points, highest cluster first."""

    name = "top-down"

    def propose(self, seen: Observation, seed: int) -> GraspSet:
        grasps: list[Grasp] = []
        found = clusters(seen.cloud.xyz[seen.cloud.xyz[:, 2] > _TABLE_NOISE_M].astype(np.float64))
        for points in found:
            top = float(np.percentile(points[:, 2], 98))
            middle = points[:, :2].mean(axis=0)
            _, axes = np.linalg.eigh(np.cov((points[:, :2] - middle).T))
            for rank, axis in enumerate((axes[:, 0], axes[:, 1])):
                along = (points[:, :2] - middle) @ axis
                low, high = np.percentile(along, [1, 99])
                width = float(high - low)
                if width > 0.078:
                    continue
                d = np.array([axis[0], axis[1], 0.0])
                depth = max(0.012, top - 0.02)
                contact = np.array([*(middle + low * axis), depth])
                T = grasp_poses(contact[None], d[None], _DOWN[None], np.array([width]))[0]
                grasps.append(Grasp(T, width, float(0.5 + top - 0.2 * rank), contact))
        return _filtered(grasps, seen.cloud)


class OracleAntipodal:
    """Antipodal contacts on the true meshes at the true poses, exact collision check: the ceiling."""

    name = "oracle-antipodal"
    _points_per_object = 80

    def __init__(self) -> None:
        self._surfaces: dict[int, Surface] = {}

    def propose(self, seen: Observation, seed: int) -> GraspSet:
        scene, hand = seen.hand.scene, seen.hand
        surfaces = [Surface(o.vertices, o.faces) for o in scene.objects]
        nothing = [None] * len(surfaces)
        rng = np.random.default_rng(seed)
        n = self._points_per_object
        found = find_grasps(scene, hand.data, surfaces, nothing, n, rng, present=hand.present)
        grasps = []
        for i in found.good():
            middle = found.contact[i] + 0.5 * found.width_m[i] * found.contact_dir[i]
            origin = scene.object_pose(hand.data, int(found.object[i]))[:3, 3]
            # Near the centre of mass and from above: the least torque, the least contact with others.
            score = np.exp(-np.linalg.norm(middle - origin) / 0.05) * (0.5 - 0.5 * found.approach_dir[i, 2])
            grasps.append(
                Grasp(
                    found.pose(int(i)),
                    float(found.width_m[i]),
                    float(score),
                    found.contact[i],
                    int(found.object[i]),
                )
            )
        grasps.sort(key=lambda g: -g.score)
        return GraspSet(tuple(grasps), seen.cloud.frame_id, seen.cloud.stamp_ns)


def _filtered(grasps: list[Grasp], cloud: PointCloud) -> GraspSet:
    kept = filter_grasps(grasps, cloud.xyz, PostprocessConfig())
    return GraspSet(kept, cloud.frame_id, cloud.stamp_ns)


def _extent_along(xyz: F64, contact: F64, direction: F64) -> F64:
    """How far (N,) the points within 1 cm of each ray reach along it, at least 1 cm; a guess of the width."""
    tree = cKDTree(xyz)
    out = np.full(len(contact), 0.01)
    for i, near in enumerate(tree.query_ball_point(contact, 0.09)):
        offset = xyz[near] - contact[i]
        along = offset @ direction[i]
        beside = np.linalg.norm(offset - along[:, None] * direction[i], axis=1)
        reached = along[(beside < 0.01) & (along > 0.0)]
        if len(reached):
            out[i] = max(out[i], float(reached.max()))
    return out
