"""Pile scenes: objects dropped one by one into a box without floor, which is then lifted away."""

from collections.abc import Sequence

import numpy as np

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_sim.objects.model import ObjectModel
from sinew_sim.scenes.table import WORKSPACE_HIGH, WORKSPACE_LOW, TableWorld, rotation

MARGIN_M = 0.02
"""How far a point of an object may lie outside the workspace, as in the cropped cloud."""

_PILES = 8
_REDROPS = 6
_WALL_INSET_M = 0.02
_DROP_CLEARANCE_M = 0.015


def drop_pile(objects: Sequence[ObjectModel], seed: int) -> F64:
    """Poses (n, 7) of objects at rest after the fall, all over the workspace; the same for the same seed.

    ConfigError when the objects will not stay inside.
    """
    world = TableWorld(objects)
    for attempt in range(_PILES):
        if _pile(world, stream(seed, "pile", attempt)):
            return world.poses
    names = ", ".join(o.name for o in objects)
    raise ConfigError(
        f"no pile of {len(objects)} objects stayed inside the workspace in {_PILES} trials (seed {seed}: {names}); "
        "ask for fewer or smaller objects"
    )


def _pile(world: TableWorld, rng: np.random.Generator) -> bool:
    world.clear()
    n = len(world.objects)
    waiting = [int(i) for i in rng.permutation(n)]
    lying: list[int] = []
    for _ in range(_REDROPS):
        world.set_walls(True)
        for i in waiting:
            _drop(world, i, lying, rng)
            lying.append(i)
        world.set_walls(False)
        world.wait_for_rest(range(n), 0.2, 1.5)
        rested = world.settle(4.0)
        waiting = [i for i in range(n) if not world.inside(i, MARGIN_M)]
        if not waiting:
            return rested and world.penetration() < 0.001
        lying = [i for i in range(n) if i not in waiting]
        for i in waiting:
            world.put_away(i)
    return False


def _drop(world: TableWorld, i: int, lying: Sequence[int], rng: np.random.Generator) -> None:
    """Lets object `i` fall in a random orientation from just above what lies there already."""
    quat = rng.normal(size=4)
    quat /= np.linalg.norm(quat)
    points = world.objects[i].hull_points @ rotation(quat).T
    low = WORKSPACE_LOW[:2] + _WALL_INSET_M - points[:, :2].min(0)
    high = WORKSPACE_HIGH[:2] - _WALL_INSET_M - points[:, :2].max(0)
    centre = (WORKSPACE_LOW[:2] + WORKSPACE_HIGH[:2]) / 2
    # Around the centre, so that objects come to lie on each other, but never through a wall.
    xy = np.clip(centre + rng.uniform(-0.06, 0.06, 2), np.minimum(low, centre), np.maximum(high, centre))
    z = world.top(lying) + _DROP_CLEARANCE_M - points[:, 2].min()
    world.put(i, np.array([*xy, z, *quat]))
    world.wait_for_rest([*lying, i], 0.25, 0.5)
