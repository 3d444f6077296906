"""Antipodal contact pairs on a mesh: where two opposed fingers hold by friction.

From a surface point the closing direction is chosen, not drawn: along the inward normal or along the
bisector of the two surfaces' normals, whichever lies deeper inside both friction cones. A rule rather than
a draw gives neighbouring points nearly equal directions, which a network can learn.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import MeshError
from sinew_policies.common.types import F64, I32

MAX_PAIR_WIDTH_M = 0.078
MIN_PAIR_WIDTH_M = 0.002
FRICTION_CONE = 0.5
_START_M = 1e-5  # rays start this far inside, so that they do not hit their own face


@dataclass(frozen=True)
class ContactPairs:
    """P pairs in the object's frame; arrays (P, 3) or (P,). `source` indexes the points they came from."""

    contact: F64  # (P, 3)
    direction: F64  # (P, 3) unit, from contact to the opposite contact
    width_m: F64  # (P,)
    quality: F64  # (P,) cosine of the worse of both angles between closing axis and surface normal
    source: NDArray[np.int64]  # (P,)

    def __len__(self) -> int:
        return len(self.contact)

    @property
    def opposite(self) -> F64:
        return self.contact + self.width_m[:, None] * self.direction

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "ContactPairs":
        return ContactPairs(
            self.contact[index],
            self.direction[index],
            self.width_m[index],
            self.quality[index],
            self.source[index],
        )

    def flipped(self) -> "ContactPairs":
        """The same pairs seen from their other contact."""
        return ContactPairs(self.opposite, -self.direction, self.width_m, self.quality, self.source)


def join(pairs: list[ContactPairs]) -> ContactPairs:
    return ContactPairs(
        np.concatenate([p.contact for p in pairs]),
        np.concatenate([p.direction for p in pairs]),
        np.concatenate([p.width_m for p in pairs]),
        np.concatenate([p.quality for p in pairs]),
        np.concatenate([p.source for p in pairs]),
    )


class Surface:
    """A closed triangle mesh prepared for rays. Raises MeshError for a mesh without faces."""

    def __init__(self, vertices: F64, faces: I32) -> None:
        import trimesh

        if len(faces) == 0:
            raise MeshError("cannot sample grasps on a mesh of 0 faces; expected a closed surface")
        self._mesh = trimesh.Trimesh(vertices=vertices, faces=faces, process=False)
        self._rays: Any = self._mesh.ray
        self.normals: F64 = np.asarray(self._mesh.face_normals, np.float64)  # (F, 3) outward
        self._area = np.asarray(self._mesh.area_faces, np.float64)

    @property
    def area_m2(self) -> float:
        return float(self._area.sum())

    def sample(self, n: int, rng: np.random.Generator) -> tuple[F64, F64]:
        """n points spread over the area and their outward normals, (n, 3) each."""
        # Stratified along the cumulative area: far more even than independent draws.
        at = (np.arange(n) + rng.random(n)) / n * self._area.sum()
        face = np.clip(np.searchsorted(np.cumsum(self._area), at), 0, len(self._area) - 1)
        u, v = rng.random(n), rng.random(n)
        inside = u + v > 1.0
        u[inside], v[inside] = 1.0 - u[inside], 1.0 - v[inside]
        corner = self._mesh.triangles[face]
        points = (
            corner[:, 0] + u[:, None] * (corner[:, 1] - corner[:, 0]) + v[:, None] * (corner[:, 2] - corner[:, 0])
        )
        return np.asarray(points), self.normals[face]

    def exits(self, points: F64, directions: F64) -> tuple[NDArray[np.int64], F64, F64]:
        """Where rays that start on the surface going inward leave the solid again.

        Returns (ray index (H,), distance (H,), outward normal (H, 3)), sorted by ray, then distance.
        """
        hits, ray, face = self._rays.intersects_location(
            points + _START_M * directions, directions, multiple_hits=True
        )
        if len(ray) == 0:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 3))
        distance = np.einsum("ij,ij->i", hits - points[ray], directions[ray])
        normal = self.normals[face]
        leaving = (np.einsum("ij,ij->i", normal, directions[ray]) > 0.0) & (distance > MIN_PAIR_WIDTH_M)
        ray, distance, normal = ray[leaving], distance[leaving], normal[leaving]
        order = np.lexsort((distance, ray))
        return ray[order].astype(np.int64), distance[order], normal[order]


def pairs_at(surface: Surface, points: F64, normals: F64, *, friction_cone: float = FRICTION_CONE) -> ContactPairs:
    """Antipodal pairs whose first contact is one of `points` (N, 3) with outward `normals` (N, 3).

    At most two per point: to the near side of the wall the point belongs to, and to the farthest side within
    the jaw. Both angles to the closing axis lie within the cone.
    """
    threshold = np.cos(np.arctan(friction_cone))
    first: list[ContactPairs] = []
    for farthest in (False, True):
        plain = _shoot(surface, points, normals, -normals, np.arange(len(points)), farthest)
        found = [plain[0]]
        bisector = plain[1] - normals[plain[0].source]
        length = np.linalg.norm(bisector, axis=1)
        usable = length > 0.5
        if usable.any():
            source = plain[0].source[usable]
            found.append(
                _shoot(surface, points, normals, bisector[usable] / length[usable, None], source, farthest)[0]
            )
        both = join(found)
        # Best direction per point.
        order = np.lexsort((-both.quality, both.source))
        best = both.take(order)
        _, at = np.unique(best.source, return_index=True)
        first.append(best.take(at))
    near, far = first
    both = join([near, far.take(~_contained(far, near))])
    return both.take(both.quality >= threshold)


def sample_pairs(surface: Surface, n_points: int, rng: np.random.Generator) -> ContactPairs:
    """Antipodal pairs over the whole surface, from `n_points` points spread evenly."""
    points, normals = surface.sample(n_points, rng)
    return pairs_at(surface, points, normals)


def spread(pairs: ContactPairs, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of at most n pairs that cover the set: furthest-point order over both contacts (6-D)."""
    if len(pairs) <= n:
        return np.arange(len(pairs))
    code = np.concatenate([pairs.contact, pairs.opposite], axis=1)  # (P, 6)
    chosen = np.empty(n, np.int64)
    chosen[0] = rng.integers(len(pairs))
    nearest = np.full(len(pairs), np.inf)
    for k in range(1, n):
        d = np.minimum(_sq(code - code[chosen[k - 1]]), _sq(code - np.roll(code[chosen[k - 1]], 3)))
        nearest = np.minimum(nearest, d)
        chosen[k] = int(np.argmax(nearest))
    return chosen


def _sq(d: F64) -> F64:
    return np.einsum("ij,ij->i", d, d)


def _contained(a: ContactPairs, b: ContactPairs) -> NDArray[np.bool_]:
    """Which pairs of `a` equal one of `b` from the same point."""
    width_b = dict(zip(b.source.tolist(), b.width_m.tolist(), strict=True))
    return np.array(
        [abs(width_b.get(s, -1.0) - w) < 1e-3 for s, w in zip(a.source.tolist(), a.width_m.tolist(), strict=True)],
        bool,
    )


def _shoot(
    surface: Surface,
    points: F64,
    normals: F64,
    directions: F64,
    source: NDArray[np.int64],
    farthest: bool,
) -> tuple[ContactPairs, F64]:
    """Pairs along `directions` from points[source], with the opposite normals (P, 3)."""
    ray, distance, normal = surface.exits(points[source], directions)
    fits = distance <= MAX_PAIR_WIDTH_M
    ray, distance, normal = ray[fits], distance[fits], normal[fits]
    if farthest:
        ray, distance, normal = ray[::-1], distance[::-1], normal[::-1]
    hit, at = np.unique(ray, return_index=True)
    d, opposite_normal = directions[hit], normal[at]
    own = np.einsum("ij,ij->i", -normals[source[hit]], d)
    other = np.einsum("ij,ij->i", opposite_normal, d)
    return (
        ContactPairs(points[source[hit]], d, distance[at], np.minimum(own, other), source[hit]),
        opposite_normal,
    )
