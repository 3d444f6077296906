"""The walkable polygons of a navigation mesh as arrays, joined by portals: what every query works on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64
from sinew_sim.indoor import navmesh_layout as layout
from sinew_sim.indoor.navmesh_borders import BorderEdges, join_borders
from sinew_sim.indoor.navmesh_layout import NavMeshFile, Tile

I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_AREA_M2 = 1e-5  # Habitat takes smaller polygons out of the mesh
CONVEX_WITHIN_M = 0.01
_SLOTS = layout.MAX_POLY_VERTICES


@dataclass(frozen=True, eq=False)
class Portals:
    """Crossings from a polygon to its neighbour, each present in both directions, sorted by `source`.

    Seen from inside `source`, looking out, `left` is to the left in the plane (x, z) drawn with z upwards.
    `left_turn` and `right_turn` number the ends: equal numbers are one place in one connected wedge of polygons;
    -1 where no shortest path can turn.
    """

    first: I64  # (P + 1,) where each polygon's portals start
    source: I64  # (M,) polygon that it leads out of
    target: I64  # (M,) polygon that it leads into
    left: F64  # (M, 3) metres
    right: F64  # (M, 3)
    left_turn: I64  # (M,)
    right_turn: I64  # (M,)


@dataclass(frozen=True, eq=False)
class Polygons:
    """P convex polygons, corners counterclockwise in the plane (x, z) drawn with z upwards."""

    corners: F64  # (P, 6, 3) metres, the last corner repeated in unused slots
    corner_counts: I64  # (P,)
    portals: Portals
    island: I64  # (P,) number of the connected component
    triangles: F64  # (T, 3, 3) metres, the detail surface
    triangle_owner: I64  # (T,) polygon, ascending
    climb_m: float  # height that the agent steps over

    @property
    def count(self) -> int:
        return len(self.corner_counts)


def build_polygons(mesh: NavMeshFile, name: str) -> Polygons:
    """Raises DataError where walkable polygons are not convex or disagree about their neighbours."""
    flats = [_flatten(tile, f"{name}: tile {t}") for t, tile in enumerate(mesh.tiles)]
    first_poly = np.cumsum([0, *[len(f.polygon) for f in flats]])
    corners = _joined([f.corners for f in flats], (0, _SLOTS, 3))
    counts = _joined([f.counts for f in flats], (0,), np.int64)
    neighbours = _joined(
        [np.where(f.neighbours >= 0, f.neighbours + s, -1) for f, s in zip(flats, first_poly, strict=False)],
        (0, _SLOTS),
        np.int64,
    )
    sides = _joined([f.sides for f in flats], (0, _SLOTS), np.int64)
    grid = _joined(
        [
            np.full((len(f.polygon), 2), [t.header["x"], t.header["y"]])
            for f, t in zip(flats, mesh.tiles, strict=True)
        ],
        (0, 2),
        np.int64,
    )
    climb = max((float(t.header["walkable_climb"]) for t in mesh.tiles), default=0.0)
    triangles = _joined([f.triangles for f in flats], (0, 3, 3))
    owner = _joined([f.owner + s for f, s in zip(flats, first_poly, strict=False)], (0,), np.int64)
    portals = _portals(corners, counts, neighbours, sides, grid, climb, name)
    links = (portals.source, portals.target)
    graph = coo_matrix((np.ones(len(portals.source), np.int8), links), (len(counts),) * 2)
    island = connected_components(graph, directed=False)[1].astype(np.int64) if len(counts) else counts
    return Polygons(corners, counts, portals, island, triangles, owner, climb)


@dataclass(frozen=True, eq=False)
class _Flat:
    """Walkable polygons of one tile; `neighbours` numbers them within the tile, -1 none."""

    polygon: I64  # (P,) index in the tile
    corners: F64
    counts: I64
    neighbours: I64  # (P, 6)
    sides: I64  # (P, 6) tile side of a border edge, -1 none
    triangles: F64
    owner: I64


def _flatten(tile: Tile, where: str) -> _Flat:
    polys = tile.polys
    triangles, owner = _detail_triangles(tile)
    doubled = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1)
    areas = np.bincount(owner, doubled / 2.0, minlength=len(polys))
    ground = polys["area_and_type"] >> 6 != layout.OFF_MESH_TYPE
    walkable = ground & (polys["flags"] & layout.WALK_FLAG != 0) & (areas >= LEAST_AREA_M2)
    chosen = np.flatnonzero(walkable)
    number = np.full(len(polys) + 1, -1)
    number[chosen + 1] = np.arange(len(chosen))  # entry 0 stands for "no neighbour"
    counts = polys["vertex_count"][chosen].astype(np.int64)
    slot = np.minimum(np.arange(_SLOTS), counts[:, None] - 1)
    vertices = np.take_along_axis(polys["vertices"][chosen].astype(np.int64), slot, axis=1)
    corners = tile.vertices.astype(np.float64)[vertices]
    stored = polys["neighbours"][chosen].astype(np.int64)
    border = stored & layout.EXTERNAL != 0
    used = np.arange(_SLOTS) < counts[:, None]
    neighbours = np.where(used & ~border, number[np.where(used & ~border, stored, 0)], -1)
    sides = np.where(used & border, stored & ~layout.EXTERNAL, -1)
    flipped = _signed_area(corners) < 0.0
    edge = np.arange(_SLOTS)
    # Corners backwards; the edge from corner i then is the old edge n - 2 - i.
    turned = np.where(flipped[:, None], np.maximum(counts[:, None] - 1 - edge, 0), slot)
    corners = np.take_along_axis(corners, turned[..., None], axis=1)
    old_edge = np.where(flipped[:, None] & used, (counts[:, None] - 2 - edge) % counts[:, None], edge)
    neighbours = np.take_along_axis(neighbours, old_edge, axis=1)
    sides = np.take_along_axis(sides, old_edge, axis=1)
    _check_convex(corners, counts, chosen, where)
    kept = walkable[owner]
    return _Flat(chosen, corners, counts, neighbours, sides, triangles[kept], number[1:][owner[kept]])


def _detail_triangles(tile: Tile) -> tuple[F64, I64]:
    """(T, 3, 3) corners and (T,) polygon of the detail surface; a fan where a polygon has no detail mesh."""
    polys, details = tile.polys, tile.detail_meshes
    counts = polys["vertex_count"].astype(np.int64)
    pieces = np.zeros(len(polys), np.int64)
    pieces[: len(details)] = details["triangle_count"]
    owner = np.repeat(np.arange(len(details)), details["triangle_count"])
    start = np.repeat(np.cumsum(pieces[: len(details)]) - pieces[: len(details)], pieces[: len(details)])
    triangle = details["triangle_base"].astype(np.int64)[owner] + np.arange(len(owner)) - start
    corner = tile.detail_triangles["corners"].astype(np.int64)[triangle]  # (T, 3)
    of_poly = corner < counts[owner, None]
    from_poly = polys["vertices"].astype(np.int64)[owner[:, None], np.where(of_poly, corner, 0)]
    from_detail = details["vertex_base"].astype(np.int64)[owner, None] + corner - counts[owner, None]
    pool = np.concatenate([tile.vertices, tile.detail_vertices]).astype(np.float64)
    xyz = pool[np.where(of_poly, from_poly, len(tile.vertices) + from_detail)]
    bare = np.flatnonzero(pieces == 0)
    fans = np.repeat(bare, np.maximum(counts[bare] - 2, 0))
    step = np.arange(len(fans)) - np.repeat(
        np.cumsum(np.maximum(counts[bare] - 2, 0)) - np.maximum(counts[bare] - 2, 0),
        np.maximum(counts[bare] - 2, 0),
    )
    picks = np.stack([np.zeros_like(step), step + 1, step + 2], axis=1)
    fan_xyz = tile.vertices.astype(np.float64)[polys["vertices"].astype(np.int64)[fans[:, None], picks]]
    everyone = np.concatenate([owner, fans])
    order = np.argsort(everyone, kind="stable")
    return np.concatenate([xyz.reshape(-1, 3, 3), fan_xyz.reshape(-1, 3, 3)])[order], everyone[order]


def _portals(
    corners: F64, counts: I64, neighbours: I64, sides: I64, grid: I64, climb_m: float, name: str
) -> Portals:
    used = np.arange(_SLOTS) < counts[:, None]
    following = (np.arange(_SLOTS) + 1) % np.maximum(counts, 1)[:, None]  # (P, 6) corner that ends the edge
    source, edge = np.nonzero(used & (neighbours >= 0))
    target = neighbours[source, edge]
    end = following[source, edge]
    partner = _partner_edges(corners, counts, neighbours, source, edge, end, target, following, name)
    # Ends that portals identify form wedges; a path can only turn where a wedge reflects at a wall.
    here, there = source * _SLOTS, target * _SLOTS
    pairs = np.concatenate(
        [
            np.stack([here + edge, there + following[target, partner]]),
            np.stack([here + end, there + partner]),
        ],
        axis=1,
    )
    n = len(counts) * _SLOTS
    wedge = (
        connected_components(coo_matrix((np.ones(pairs.shape[1], np.int8), tuple(pairs)), (n, n)), directed=False)[
            1
        ]
        if n
        else np.zeros(0, np.int64)
    )
    turn = np.where(_can_turn(corners, counts, neighbours, sides, wedge.astype(np.int64)), wedge, -1)
    borders = join_borders(BorderEdges.of(corners, following, sides, grid), climb_m, name)
    fresh = np.arange(len(borders.source) // 2)
    # Counterclockwise corners and looking out: the edge runs from the right end to the left end.
    everything = {
        "source": np.concatenate([source, borders.source]),
        "target": np.concatenate([target, borders.target]),
        "left": np.concatenate([corners[source, end], borders.left]),
        "right": np.concatenate([corners[source, edge], borders.right]),
        # The two directions of a border portal stand one half apart and swap their ends.
        "left_turn": np.concatenate([turn[here + end], n + 2 * fresh, n + 2 * fresh + 1]),
        "right_turn": np.concatenate([turn[here + edge], n + 2 * fresh + 1, n + 2 * fresh]),
    }
    order = np.argsort(everything["source"], kind="stable")
    first = np.searchsorted(everything["source"][order], np.arange(len(counts) + 1))
    return Portals(first=first.astype(np.int64), **{k: v[order] for k, v in everything.items()})


def _partner_edges(
    corners: F64,
    counts: I64,
    neighbours: I64,
    source: I64,
    edge: I64,
    end: I64,
    target: I64,
    following: I64,
    name: str,
) -> I64:
    """For each crossing the edge of the neighbour that runs along it the other way."""
    a, b = corners[source, edge], corners[source, end]  # (M, 3)
    theirs_a, theirs_b = corners[target], np.take_along_axis(corners, following[..., None], axis=1)[target]
    match = (theirs_a == b[:, None]).all(-1) & (theirs_b == a[:, None]).all(-1)  # (M, 6)
    match &= (neighbours[target] == source[:, None]) & (np.arange(_SLOTS) < counts[target, None])
    lost = np.flatnonzero(~match.any(axis=1))
    if len(lost):
        m = lost[0]
        raise DataError(
            f"{name}: walkable polygon {source[m]} names polygon {target[m]} as its neighbour at edge {edge[m]}, "
            "which has no such edge in return; the file is damaged: fetch it again"
        )
    return match.argmax(axis=1)


def _can_turn(corners: F64, counts: I64, neighbours: I64, sides: I64, wedge: I64) -> Bools:
    """(P * 6,) whether the wedge around a corner spans more than half a turn, or meets a tile border."""
    previous = (np.arange(_SLOTS) - 1) % np.maximum(counts, 1)[:, None]
    following = (np.arange(_SLOTS) + 1) % np.maximum(counts, 1)[:, None]
    plane = corners[..., [0, 2]]
    forward = np.take_along_axis(plane, following[..., None], axis=1) - plane
    back = np.take_along_axis(plane, previous[..., None], axis=1) - plane
    cross = forward[..., 0] * back[..., 1] - forward[..., 1] * back[..., 0]
    angle = np.abs(np.arctan2(cross, (forward * back).sum(-1)))
    angle[np.arange(_SLOTS) >= counts[:, None]] = 0.0
    sums = np.bincount(wedge, angle.ravel(), minlength=len(wedge)) if len(wedge) else np.zeros(0)
    used = np.arange(_SLOTS) < counts[:, None]
    wall = used & (neighbours < 0) & (sides < 0)
    at_wall = _of_ends(wall, previous, wedge)
    at_border = _of_ends(used & (sides >= 0), previous, wedge)
    return (((sums > np.pi - 1e-4) & at_wall) | at_border)[wedge]


def _of_ends(edges: Bools, previous: I64, wedge: I64) -> Bools:
    """Per wedge, whether one of the chosen edges starts or ends at it."""
    touched = np.zeros(len(wedge), bool)
    touched[wedge[(edges | np.take_along_axis(edges, previous, axis=1)).ravel()]] = True
    return touched


def _check_convex(corners: F64, counts: I64, chosen: I64, where: str) -> None:
    plane = corners[..., [0, 2]]
    following = (np.arange(_SLOTS) + 1) % np.maximum(counts, 1)[:, None]
    along = np.take_along_axis(plane, following[..., None], axis=1) - plane  # (P, 6, 2)
    to = plane[:, None] - plane[:, :, None]  # (P, edge, corner, 2)
    length = np.maximum(np.linalg.norm(along, axis=-1), 1e-9)
    depth = (along[:, :, None, 0] * to[..., 1] - along[:, :, None, 1] * to[..., 0]) / length[..., None]
    edge_used = np.arange(_SLOTS) < counts[:, None]
    worst = np.where(edge_used[:, :, None], depth, 0.0).min(axis=(1, 2), initial=0.0)
    bent = np.flatnonzero(worst < -CONVEX_WITHIN_M)
    if len(bent):
        p = bent[0]
        raise DataError(
            f"{where}: polygon {chosen[p]} is not convex: a corner lies {-worst[p]:.3f} m beyond an edge; "
            "the file is damaged: fetch it again"
        )


def _signed_area(corners: F64) -> F64:
    """(P,) in the plane (x, z); repeated corners add nothing."""
    x, z = corners[..., 0] - corners[:, :1, 0], corners[..., 2] - corners[:, :1, 2]
    return (x * np.roll(z, -1, axis=1) - z * np.roll(x, -1, axis=1)).sum(axis=1) / 2.0


def _joined(parts: list[NDArray], shape: tuple[int, ...], dtype: type = np.float64) -> NDArray:
    return np.concatenate([np.zeros(shape, dtype), *parts])
