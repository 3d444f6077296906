"""Packed scenes: objects stand upright, close together, without touching at the start."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import ConvexHull

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_sim.objects.model import ObjectModel
from sinew_sim.objects.standing import standing_angle_rad
from sinew_sim.scenes.table import WORKSPACE_HIGH, WORKSPACE_LOW, TableWorld, rotation

UPRIGHT_RAD = np.deg2rad(8.0)
_ROLLS_RAD = np.deg2rad(6.0)
_GAPS_M = (0.012, 0.008, 0.004)  # tried in this order: crowded scenes get closer neighbours
_LAYOUTS_PER_GAP = 12
_SPOTS = 60


def place_packed(objects: Sequence[ObjectModel], seed: int) -> F64:
    """Poses (n, 7) of objects standing at rest inside the workspace; the same for the same seed.

    ConfigError when no arrangement was found in which all of them stand.
    """
    world = TableWorld(objects)
    attempt = 0
    for gap_m in _GAPS_M:
        for _ in range(_LAYOUTS_PER_GAP):
            attempt += 1
            layout = _layout(objects, gap_m, stream(seed, "packed", attempt))
            if layout is None:
                continue
            world.clear()
            for i, pose in enumerate(layout):
                world.put(i, pose)
            if world.settle(1.0) and _good(world):
                return world.poses
    names = ", ".join(o.name for o in objects)
    raise ConfigError(
        f"no packed scene of {len(objects)} objects found in {attempt} layouts (seed {seed}: {names}); "
        "ask for fewer or smaller objects, or for a pile"
    )


def _good(world: TableWorld) -> bool:
    poses = world.poses
    # A ball or an egg from a mesh folder stands nowhere; where it comes to lie is as upright as it gets.
    upright = all(
        rotation(p[3:7])[2, 2] > np.cos(UPRIGHT_RAD) or standing_angle_rad(o.hull_points) < _ROLLS_RAD
        for p, o in zip(poses, world.objects, strict=True)
    )
    return upright and all(world.inside(i) for i in range(len(poses))) and world.penetration() < 0.001


def _layout(objects: Sequence[ObjectModel], gap_m: float, rng: np.random.Generator) -> F64 | None:
    """Poses (n, 7) with footprints at least `gap_m` apart, large objects first; None if one found no room."""
    poses = np.zeros((len(objects), 7))
    taken: list[F64] = []
    for i in sorted(range(len(objects)), key=lambda i: -objects[i].radius_xy_m):
        obj = objects[i]
        spots: list[tuple[float, F64, F64]] = []
        for _ in range(_SPOTS):
            yaw = rng.uniform(-np.pi, np.pi)
            c, s = np.cos(yaw), np.sin(yaw)
            outline = _footprint(obj) @ np.array([[c, s], [-s, c]])
            low, high = WORKSPACE_LOW[:2] - outline.min(0), WORKSPACE_HIGH[:2] - outline.max(0)
            if (low >= high).any():
                continue
            xy = rng.uniform(low, high)
            here = outline + xy
            distance = min((_separation(here, other) for other in taken), default=1.0)
            if distance >= gap_m:
                pose = np.array([*xy, obj.standing_height_m, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
                spots.append((distance, pose, here))
            # Of three free spots the one nearest to a neighbour: packed, yet different every time.
            if len(spots) == 3:
                break
        if not spots:
            return None
        _, poses[i], outline = min(spots, key=lambda spot: spot[0])
        taken.append(outline)
    return poses


def _footprint(obj: ObjectModel) -> F64:
    """Convex outline (K, 2) of the standing object's shadow, counter-clockwise."""
    xy = obj.hull_points[:, :2]
    return xy[ConvexHull(xy).vertices]


def _separation(a: F64, b: F64) -> float:
    """Largest gap between two convex outlines along any edge normal: a lower bound of their distance."""
    best = -np.inf
    for p, q in ((a, b), (b, a)):
        edge = np.roll(p, -1, axis=0) - p
        normal = np.stack([edge[:, 1], -edge[:, 0]], axis=1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        gap = (q @ normal.T).min(axis=0) - np.einsum("ki,ki->k", p, normal)
        best = max(best, float(gap.max()))
    return best
