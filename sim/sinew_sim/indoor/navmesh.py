"""What navigation needs of a mesh: where one can stand, how far it is to walk, random places. Habitat's axes."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path as FilePath

import numpy as np
from numpy.typing import ArrayLike

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64
from sinew_sim.indoor.json_fields import Vec3
from sinew_sim.indoor.navmesh_file import read_navmesh
from sinew_sim.indoor.navmesh_layout import NavMeshFile
from sinew_sim.indoor.navmesh_polygons import Polygons, build_polygons
from sinew_sim.indoor.shortest_path import Path, PathFinder

SEARCH_HALF_EXTENTS_M = (2.0, 4.0, 2.0)  # around a point, for the polygon it belongs to; Habitat's values
MAX_STEP_M = 0.5  # a point this far above or below the surface still stands on it; Habitat's value
OFF_EDGE_M = 1e-2  # and this far beside it


@dataclass(frozen=True)
class Targets:
    """Goals on a mesh: (number among the goals given, polygon, place)."""

    places: tuple[tuple[int, int, Vec3], ...]


class NavMesh:
    """Queries on the walkable polygons of a file. Off-mesh connections are not followed."""

    def __init__(self, mesh: NavMeshFile, name: str = "navigation mesh") -> None:
        """Raises DataError where polygons are not convex or disagree about their neighbours."""
        self.polygons: Polygons = build_polygons(mesh, name)
        self._name = name
        corners = self.polygons.corners
        self._low: F64 = corners.min(axis=1, initial=np.inf)  # (P, 3)
        self._high: F64 = corners.max(axis=1, initial=-np.inf)

    @classmethod
    def read(cls, path: FilePath) -> "NavMesh":
        """Raises DataError naming file, field and value where it is damaged."""
        return cls(read_navmesh(path), str(path))

    @cached_property
    def area_m2(self) -> float:
        return float(self._triangle_areas.sum())

    @cached_property
    def island_areas_m2(self) -> F64:
        """(I,) area of each connected component."""
        islands = self.polygons.island[self.polygons.triangle_owner]
        return np.bincount(islands, self._triangle_areas).astype(np.float64)

    @property
    def bounds_m(self) -> tuple[F64, F64]:
        """Lowest and highest corner. Raises DataError for an empty mesh."""
        self._require_ground()
        return self._low.min(axis=0), self._high.max(axis=0)

    def snap(self, point: ArrayLike) -> F64 | None:
        """The nearest place on the mesh, None where there is none within 2 m (4 m in height)."""
        found = self._locate(_point(point))
        return None if found is None else np.array(found[1])

    def is_navigable(self, point: ArrayLike, max_step_m: float = MAX_STEP_M) -> bool:
        """Whether the point stands on the mesh, at most `max_step_m` above or below it."""
        p = _point(point)
        found = self._locate(p)
        if found is None:
            return False
        on = found[1]
        return abs(on[1] - p[1]) <= max_step_m and math.hypot(on[0] - p[0], on[2] - p[2]) <= OFF_EDGE_M

    def island(self, point: ArrayLike) -> int | None:
        """Number of the connected component the point belongs to, None where it is not near the mesh."""
        found = self._locate(_point(point))
        return None if found is None else int(self.polygons.island[found[0]])

    def targets(self, goals: ArrayLike) -> Targets:
        """Goals ((3,) or (N, 3)) snapped once, for many queries. Those that are not near the mesh are left out."""
        places = np.asarray(goals, np.float64).reshape(-1, 3)
        found = [(number, self._locate(_point(place))) for number, place in enumerate(places)]
        return Targets(tuple((number, *place) for number, place in found if place is not None))

    def path(self, start: ArrayLike, goals: ArrayLike | Targets) -> Path | None:
        """Shortest path to the nearest of `goals`, from snapped start to snapped goal; None: no way leads there."""
        here = self._locate(_point(start))
        if here is None:
            return None
        targets = goals if isinstance(goals, Targets) else self.targets(goals)
        island = self.polygons.island
        reachable = [t for t in targets.places if island[t[1]] == island[here[0]]]
        found = self._finder.shortest(here[0], here[1], [(polygon, place) for _, polygon, place in reachable])
        return None if found is None else replace(found, goal=reachable[found.goal][0])

    def geodesic(self, start: ArrayLike, goals: ArrayLike | Targets) -> float:
        """Length in metres of `path`; infinite where there is none."""
        found = self.path(start, goals)
        return math.inf if found is None else found.length_m

    def sample(self, generator: np.random.Generator, n: int = 1, *, island: int | None = None) -> F64:
        """(n, 3) places, uniform over the surface, or over one connected component.

        Draw the generator by `seeds.stream`. Raises DataError where there is no such ground.
        """
        self._require_ground()
        weights = self._triangle_areas
        if island is not None:
            weights = np.where(self.polygons.island[self.polygons.triangle_owner] == island, weights, 0.0)
        total = weights.sum()
        if not total > 0.0:
            raise DataError(
                f"{self._name} has no connected component {island}; valid: 0 to {len(self.island_areas_m2) - 1}"
            )
        chosen = generator.choice(len(weights), n, p=weights / total)
        # The root spreads uniform pairs evenly over a triangle.
        u, v = np.sqrt(generator.random(n)), generator.random(n)
        a, b, c = np.moveaxis(self.polygons.triangles[chosen], 1, 0)  # (n, 3) each
        return (1.0 - u)[:, None] * a + (u * (1.0 - v))[:, None] * b + (u * v)[:, None] * c

    @cached_property
    def _finder(self) -> PathFinder:
        return PathFinder(self.polygons)

    @cached_property
    def _triangle_areas(self) -> F64:
        a, b, c = np.moveaxis(self.polygons.triangles, 1, 0)
        return np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2.0

    def _require_ground(self) -> None:
        if self.polygons.count == 0:
            raise DataError(f"{self._name} has no walkable polygon; generate the mesh again for your robot")

    def _locate(self, p: F64) -> tuple[int, Vec3] | None:
        """(polygon, place on it) nearest to `p`.

        As in Detour: straight above or below a polygon only the height beyond a step counts as distance.
        """
        reach = np.array(SEARCH_HALF_EXTENTS_M)
        near = np.flatnonzero(((self._low <= p + reach) & (self._high >= p - reach)).all(axis=1))
        if len(near) == 0:
            return None
        corners = self.polygons.corners[near]  # (K, 6, 3)
        counts = self.polygons.corner_counts[near]
        slot = np.arange(corners.shape[1])
        following = np.where(slot + 1 < counts[:, None], slot + 1, 0)
        along = np.take_along_axis(corners, following[..., None], axis=1) - corners
        to = p - corners
        side = along[..., 0] * to[..., 2] - along[..., 2] * to[..., 0]
        inside = ((side >= 0.0) | (slot >= counts[:, None])).all(axis=1)
        square = along[..., 0] ** 2 + along[..., 2] ** 2
        t = np.clip((along[..., 0] * to[..., 0] + along[..., 2] * to[..., 2]) / np.maximum(square, 1e-12), 0.0, 1.0)
        feet = corners + t[..., None] * along  # (K, 6, 3)
        planar = np.where(slot < counts[:, None], (feet[..., 0] - p[0]) ** 2 + (feet[..., 2] - p[2]) ** 2, np.inf)
        edge = planar.argmin(axis=1)
        place = feet[np.arange(len(near)), edge]
        place[inside] = p
        place[inside, 1] = [self._height(int(q), p) for q in near[inside]]
        gap = ((place - p) ** 2).sum(axis=1)
        beyond = np.maximum(np.abs(place[:, 1] - p[1]) - self.polygons.climb_m, 0.0)
        gap = np.where(inside, beyond**2, gap)
        # Of polygons that are equally near, the one nearest in height: floors may lie within a step.
        best = np.lexsort([np.abs(place[:, 1] - p[1]), gap])[0]
        x, y, z = place[best].tolist()
        return int(near[best]), (x, y, z)

    def _height(self, polygon: int, p: F64) -> float:
        """Height of the detail surface of `polygon` below or above `p`, which lies in its outline."""
        owner = self.polygons.triangle_owner
        first, last = np.searchsorted(owner, [polygon, polygon + 1])
        a, b, c = np.moveaxis(self.polygons.triangles[first:last], 1, 0)  # (T, 3)
        u, v, to = b - a, c - a, p - a
        area = u[:, 0] * v[:, 2] - u[:, 2] * v[:, 0]
        safe = np.where(np.abs(area) < 1e-12, np.inf, area)
        s = (to[:, 0] * v[:, 2] - to[:, 2] * v[:, 0]) / safe
        t = (u[:, 0] * to[:, 2] - u[:, 2] * to[:, 0]) / safe
        outside = np.maximum(np.maximum(-s, -t), s + t - 1.0)
        outside[~np.isfinite(safe)] = np.inf
        best = int(outside.argmin())
        if not math.isfinite(outside[best]):
            return float(a[0, 1])
        s_in, t_in = min(max(s[best], 0.0), 1.0), min(max(t[best], 0.0), 1.0)
        return float(a[best, 1] + s_in * u[best, 1] + t_in * v[best, 1])


def _point(point: ArrayLike) -> F64:
    p = np.asarray(point, np.float64)
    if p.shape != (3,) or not np.isfinite(p).all():
        raise DataError(f"point is {np.array2string(p, threshold=6)}; expected three finite coordinates in metres")
    return p
