"""A navigation mesh from convex polygons: one Detour tile with detail fans, links and bounding-volume tree."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64
from sinew_sim.indoor import navmesh_layout as layout
from sinew_sim.indoor.navmesh_file import MAX_COORDINATE_M
from sinew_sim.indoor.navmesh_layout import LINK, NavMeshFile, Records, Tile

I64 = NDArray[np.int64]

_MAX_POLYGONS = 0x7FFF  # Detour numbers neighbours from 1 in 15 bits
_INTERNAL_SIDE = 0xFF


@dataclass(frozen=True)
class AgentSettings:
    """What Habitat stores beside the mesh. The agent is that of PSL's evaluation, the rest Habitat's defaults."""

    cell_size_m: float = 0.05
    cell_height_m: float = 0.2
    agent_height_m: float = 0.88
    agent_radius_m: float = 0.18
    agent_max_climb_m: float = 0.2
    agent_max_slope_deg: float = 45.0
    region_min_size: float = 20.0
    region_merge_size: float = 20.0
    edge_max_length: float = 12.0
    edge_max_error: float = 1.3
    detail_sample_distance: float = 6.0
    detail_sample_max_error: float = 1.0


def build_navmesh(
    vertices_m: ArrayLike,
    polygons: Sequence[Sequence[int]],
    settings: AgentSettings = AgentSettings(),
    *,
    version: int = 2,
) -> NavMeshFile:
    """Mesh of `polygons`, 3 to 6 indices each into `vertices_m` (V, 3) in Habitat's axes.

    Polygons that share two successive vertices are joined there. Either orientation is taken. Raises DataError for
    polygons that are not convex, without area or joined three at an edge, and for more than the format can number.
    """
    vertices = _checked_vertices(vertices_m)
    if version not in layout.SET_VERSIONS:
        raise DataError(f"version is {version}; expected 1 or 2")
    if not 0 < len(polygons) <= _MAX_POLYGONS:
        raise DataError(f"{len(polygons)} polygons; expected 1 to {_MAX_POLYGONS}: split the scene into tiles")
    ordered = [_as_detour_walks(vertices, p, i) for i, p in enumerate(polygons)]
    polys = _polys(ordered)
    poly_bits = math.ceil(math.log2(len(ordered)))
    reference = 1 << poly_bits  # salt 1, tile 0
    links = _join(polys, reference)
    triangles, details = _fans(ordered)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    quantisation = 1.0 / settings.cell_size_m
    header = _header(settings, len(vertices), len(ordered), len(links), len(triangles), low, high)
    tile = Tile(
        reference=reference,
        header=header,
        vertices=vertices.astype("<f4"),
        polys=polys,
        links=links,
        detail_meshes=details,
        detail_vertices=np.zeros((0, 3), "<f4"),
        detail_triangles=triangles,
        bv_nodes=_bounding_tree(vertices, ordered, low, quantisation),
        off_mesh=np.zeros(0, layout.OFF_MESH),
    )
    params = _record(
        layout.NAVMESH_PARAMS,
        origin=low,
        tile_width=high[0] - low[0],
        tile_height=high[2] - low[2],
        max_tiles=1,
        max_polys=len(ordered),
    )
    return NavMeshFile(version, params, _settings(settings) if version == 2 else None, (tile,))


def _checked_vertices(vertices_m: ArrayLike) -> F64:
    vertices = np.asarray(vertices_m, np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not 0 < len(vertices) <= 0xFFFF:
        raise DataError(f"vertices have shape {vertices.shape}; expected (V, 3) with V from 1 to {0xFFFF}")
    bad = np.flatnonzero(~(np.abs(vertices) < MAX_COORDINATE_M).all(axis=1))
    if len(bad):
        raise DataError(f"vertex {bad[0]} is {vertices[bad[0]].tolist()}; expected finite metres")
    return vertices.astype(np.float32).astype(np.float64)  # what the file will hold


def _as_detour_walks(vertices: F64, polygon: Sequence[int], index: int) -> list[int]:
    """Clockwise in the plane (x, z) drawn with z upwards: Detour tells left from right by it."""
    corners = [int(v) for v in polygon]
    if not 3 <= len(corners) <= layout.MAX_POLY_VERTICES or len(set(corners)) < len(corners):
        raise DataError(f"polygon {index} has the vertices {corners}; expected 3 to 6 different ones: split it")
    if min(corners) < 0 or max(corners) >= len(vertices):
        raise DataError(f"polygon {index} has the vertices {corners}; expected indices 0 to {len(vertices) - 1}")
    plane = vertices[corners][:, [0, 2]]
    along = np.roll(plane, -1, axis=0) - plane
    turns = along[:, 0] * np.roll(along[:, 1], -1) - along[:, 1] * np.roll(along[:, 0], -1)
    from_first = plane - plane[0]
    twice = float(
        (from_first[:, 0] * np.roll(from_first[:, 1], -1) - from_first[:, 1] * np.roll(from_first[:, 0], -1)).sum()
    )
    if not abs(twice) > 2e-5 or (np.sign(twice) * turns < -1e-6).any():
        raise DataError(
            f"polygon {index} with corners {plane.round(3).tolist()} in (x, z) is not convex or has no area; "
            "split it into convex ones"
        )
    return corners if twice < 0.0 else corners[::-1]


def _polys(ordered: list[list[int]]) -> Records:
    polys = np.zeros(len(ordered), layout.POLY)
    polys["first_link"] = layout.NO_LINK
    polys["flags"] = layout.WALK_FLAG
    owners: dict[tuple[int, int], tuple[int, int]] = {}
    for p, corners in enumerate(ordered):
        polys["vertices"][p, : len(corners)] = corners
        polys["vertex_count"][p] = len(corners)
        for edge, (a, b) in enumerate(zip(corners, corners[1:] + corners[:1], strict=True)):
            if (a, b) in owners:
                raise DataError(
                    f"polygons {owners[a, b][0]} and {p} lie on the same side of the edge from vertex {a} to {b}; "
                    "expected polygons that do not overlap"
                )
            owners[a, b] = (p, edge)
    for (a, b), (p, edge) in owners.items():
        if (b, a) in owners:
            polys["neighbours"][p, edge] = owners[b, a][0] + 1
    return polys


def _join(polys: Records, reference: int) -> Records:
    """Links as Detour writes them when it loads the tile, and room for as many as it reckons with."""
    neighbours = polys["neighbours"]
    joined = np.argwhere(neighbours > 0)
    links = np.zeros(int(polys["vertex_count"].sum()), LINK)
    links["next"][:] = np.arange(1, len(links) + 1)
    links["next"][-1] = layout.NO_LINK
    # Last edge first, so that the list of a polygon runs from its first edge on.
    order = np.lexsort([-joined[:, 1], joined[:, 0]])
    for number, (p, edge) in enumerate(joined[order]):
        link = (reference | int(neighbours[p, edge] - 1), int(polys["first_link"][p]), edge, _INTERNAL_SIDE, 0, 0)
        links[number] = link
        polys["first_link"][p] = number
    return links


def _fans(ordered: list[list[int]]) -> tuple[Records, Records]:
    """Detail triangles that add no height: a fan from each polygon's first corner."""
    details = np.zeros(len(ordered), layout.DETAIL_MESH)
    rows: list[tuple[tuple[int, int, int], int]] = []
    for p, corners in enumerate(ordered):
        n = len(corners)
        details[p] = (0, len(rows), 0, n - 2, 0)
        for k in range(2, n):
            # Two bits an edge say that it lies on the outline; the middle one always does.
            flags = 0b000100 | (0b000001 if k == 2 else 0) | (0b010000 if k == n - 1 else 0)
            rows.append(((0, k - 1, k), flags))
    triangles = np.zeros(len(rows), layout.DETAIL_TRIANGLE)
    triangles["corners"] = [corners for corners, _ in rows]
    triangles["edge_flags"] = [flags for _, flags in rows]
    return triangles, details


def _bounding_tree(vertices: F64, ordered: list[list[int]], low: F64, quantisation: float) -> Records:
    """Boxes in preorder; an inner node holds, negated, how many nodes its branch takes."""
    boxes = np.empty((len(ordered), 2, 3), np.int64)
    for p, corners in enumerate(ordered):
        local = (vertices[corners] - low) * quantisation
        boxes[p] = np.floor(local.min(axis=0)), np.ceil(local.max(axis=0))
    if boxes.max() > 0xFFFF:
        extent = boxes.max() / quantisation
        raise DataError(f"the mesh is {extent:.0f} m wide; its tree holds {0xFFFF / quantisation:.0f} m: split it")
    nodes = np.zeros(2 * len(ordered), layout.BV_NODE)  # Detour reckons with one more than it fills
    stack: list[tuple[I64, int]] = [(np.arange(len(ordered)), -1)]
    count = 0
    # Preorder without recursion; a negative mark closes the branch that began at that node.
    while stack:
        members, opened = stack.pop()
        if opened >= 0:
            nodes["index"][opened] = -(count - opened)
            continue
        here, count = count, count + 1
        box = boxes[members]
        nodes["bmin"][here], nodes["bmax"][here] = box[:, 0].min(axis=0), box[:, 1].max(axis=0)
        if len(members) == 1:
            nodes["index"][here] = members[0]
            continue
        axis = int((nodes["bmax"][here].astype(np.int64) - nodes["bmin"][here]).argmax())
        sorted_members = members[np.argsort(box[:, 0, axis], kind="stable")]
        half = len(members) // 2
        stack += [(members, here), (sorted_members[half:], -1), (sorted_members[:half], -1)]
    return nodes


def _header(
    s: AgentSettings, vertices: int, polys: int, links: int, triangles: int, low: F64, high: F64
) -> np.void:
    return _record(
        layout.TILE_HEADER,
        magic=layout.TILE_MAGIC,
        version=layout.TILE_VERSION,
        polys=polys,
        vertices=vertices,
        links=links,
        detail_meshes=polys,
        detail_triangles=triangles,
        bv_nodes=2 * polys,
        off_mesh_base=polys,
        walkable_height=s.agent_height_m,
        walkable_radius=s.agent_radius_m,
        walkable_climb=s.agent_max_climb_m,
        bmin=low,
        bmax=high + np.array([0.0, s.agent_height_m, 0.0]),
        bv_quantisation=1.0 / s.cell_size_m,
    )


def _settings(s: AgentSettings) -> np.void:
    return _record(
        layout.SETTINGS,
        cell_size=s.cell_size_m,
        cell_height=s.cell_height_m,
        agent_height=s.agent_height_m,
        agent_radius=s.agent_radius_m,
        agent_max_climb=s.agent_max_climb_m,
        agent_max_slope=s.agent_max_slope_deg,
        region_min_size=s.region_min_size,
        region_merge_size=s.region_merge_size,
        edge_max_length=s.edge_max_length,
        edge_max_error=s.edge_max_error,
        vertices_per_poly=layout.MAX_POLY_VERTICES,
        detail_sample_distance=s.detail_sample_distance,
        detail_sample_max_error=s.detail_sample_max_error,
        filter_low_hanging_obstacles=1,
        filter_ledge_spans=1,
        filter_walkable_low_height_spans=1,
    )


def _record(record: np.dtype, **values: object) -> np.void:
    one = np.zeros(1, record)
    for name, value in values.items():
        one[name] = value
    found = one[0]
    assert isinstance(found, np.void)
    return found
