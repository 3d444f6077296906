"""Lathed families: bottles as stacked frusta; cups, bowls and mugs as a floor with wedges for the wall."""

import manifold3d
import numpy as np

from sinew_policies.common.types import F64, I32
from sinew_sim.objects.convex import Hull
from sinew_sim.objects.shapes import Shape, circle, loft, rectangle, sweep

_SIDES = 24
_WEDGES = 12
# A wedge spans two facets of the cavity. Its inner corners are set back by this factor, so that the wedges
# together enclose the same volume as the facets.
_SET_BACK = float(np.sqrt((_SIDES * np.sin(2 * np.pi / _SIDES)) / (_WEDGES * np.sin(2 * np.pi / _WEDGES))))


def bottle(rng: np.random.Generator) -> Shape:
    """Body, shoulder, neck and sometimes a cap; solid."""
    body = rng.uniform(0.019, 0.034)
    height = min(rng.uniform(0.085, 0.14), 4.5 * body)
    neck = body * rng.uniform(0.35, 0.6)
    neck_z = height * rng.uniform(0.62, 0.78)
    shoulder_z = neck_z - rng.uniform(0.4, 1.0) * (body - neck)
    waist = body * rng.uniform(0.85, 1.0)
    profile = [(body, 0.0), (waist, shoulder_z), (neck, neck_z)]
    if rng.random() < 0.5:
        cap = neck * rng.uniform(1.1, 1.5)
        cap_z = height - rng.uniform(0.012, 0.02)
        profile += [(neck, cap_z), (cap, cap_z + 0.001), (cap, height)]
    else:
        profile += [(neck * rng.uniform(0.9, 1.1), height)]
    rings = [circle(r, z, _SIDES) for r, z in profile]
    v, f = loft(rings)
    return Shape(v, f, tuple(loft(run) for run in _convex_runs(profile, rings)))


def cup(rng: np.random.Generator) -> Shape:
    low = rng.uniform(0.022, 0.034)
    high = min(low * rng.uniform(0.95, 1.35), 0.04)
    height = rng.uniform(0.05, 0.11)
    return _vessel(low, high, rng.uniform(0.006, 0.012), height, rng.uniform(0.004, 0.006))


def bowl(rng: np.random.Generator) -> Shape:
    """A foot that a gripper can hold when the bowl lies upside down, and a wide conical wall."""
    foot, foot_z = rng.uniform(0.024, 0.034), rng.uniform(0.01, 0.016)
    top = rng.uniform(0.04, 0.062)
    height = foot_z + rng.uniform(0.7, 1.5) * (top - foot) + 0.012
    return _hollow(foot, foot, top, foot_z, height, rng.uniform(0.005, 0.007))


def mug(rng: np.random.Generator) -> Shape:
    """A straight cup with a C-shaped handle."""
    low = rng.uniform(0.03, 0.04)
    high = low * rng.uniform(0.97, 1.1)
    height, wall = rng.uniform(0.07, 0.1), rng.uniform(0.0045, 0.006)
    body = _vessel(low, high, rng.uniform(0.006, 0.01), height, wall)
    reach = rng.uniform(0.024, 0.034)
    thick, wide = rng.uniform(0.007, 0.01), rng.uniform(0.009, 0.013)
    z0, z1 = height * rng.uniform(0.14, 0.24), height * rng.uniform(0.76, 0.86)
    # The ends sink half a wall deep, so that the union is one body and nothing shows in the cavity.
    radius = [low + (high - low) * z / height - 0.5 * wall for z in (z0, z1)]
    bend = rng.uniform(0.1, 0.35) * (z1 - z0)
    path = np.array(
        [
            [radius[0], 0.0, z0],
            [radius[0] + reach, 0.0, z0 + bend],
            [radius[1] + reach, 0.0, z1 - bend],
            [radius[1], 0.0, z1],
        ]
    )
    v, f, pieces = sweep(path, rectangle(thick, wide), [0.0, -1.0, 0.0])
    return Shape(*_union((body.vertices, body.faces), (v, f)), body.hulls + pieces)


def _vessel(foot: float, high: float, floor_z: float, height: float, wall: float) -> Shape:
    """Vessel whose outside runs straight from the foot at z = 0 to the rim."""
    at_floor = foot + (high - foot) * floor_z / height
    return _hollow(foot, at_floor, high, floor_z, height, wall)


def _hollow(foot: float, low: float, high: float, z0: float, z1: float, wall: float) -> Shape:
    """Solid foot of radius `foot` to `low` up to z0, then a wall from `low` to `high` at z1, open above."""
    inner_low, inner_high = low - wall, high - wall
    base, outer_low, outer_high = circle(foot, 0.0, _SIDES), circle(low, z0, _SIDES), circle(high, z1, _SIDES)
    inside = [circle(inner_high, z1, _SIDES), circle(inner_low, z0, _SIDES)]
    v, f = loft([base, outer_low, outer_high, *inside])
    floor = loft([base, outer_low])
    back_low, back_high = circle(inner_low * _SET_BACK, z0, _SIDES), circle(inner_high * _SET_BACK, z1, _SIDES)
    step = _SIDES // _WEDGES
    wedges = []
    for w in range(_WEDGES):
        i = [(w * step + k) % _SIDES for k in range(step + 1)]
        ends = [i[-1], i[0]]
        wedges.append(
            loft(
                [
                    np.concatenate([outer_low[i], back_low[ends]]),
                    np.concatenate([outer_high[i], back_high[ends]]),
                ]
            )
        )
    return Shape(v, f, (floor, *wedges))


def _convex_runs(profile: list[tuple[float, float]], rings: list[F64]) -> list[list[F64]]:
    """Splits a lathe's rings where its profile turns inwards; each run is convex."""
    runs, start = [], 0
    for i in range(1, len(rings) - 1):
        (r0, z0), (r1, z1), (r2, z2) = profile[i - 1], profile[i], profile[i + 1]
        if (r1 - r0) * (z2 - z1) < (r2 - r1) * (z1 - z0) - 1e-12:
            runs.append(rings[start : i + 1])
            start = i
    return [*runs, rings[start:]]


def _union(a: Hull, b: Hull) -> tuple[F64, I32]:
    """Boolean union of two closed meshes."""
    solids = [manifold3d.Manifold(manifold3d.Mesh64(v, f.astype(np.uint64))) for v, f in (a, b)]
    mesh = (solids[0] + solids[1]).to_mesh64()
    return np.array(mesh.vert_properties[:, :3], np.float64), np.array(mesh.tri_verts, np.int32)
