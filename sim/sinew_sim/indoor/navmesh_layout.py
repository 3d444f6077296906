"""The bytes of a `.navmesh`: Habitat's set header around plain Detour tiles, little-endian throughout.

    set     magic "TESM", version, number of tiles (int32 each); NAVMESH_PARAMS; in version 2 SETTINGS
    tile    reference u32, size i32, then `size` bytes:
            TILE_HEADER, vertices, POLY, LINK, DETAIL_MESH, detail vertices, DETAIL_TRIANGLE, BV_NODE, OFF_MESH

Vertices are 3 float32 in Habitat's axes. Detour joins the links anew when it loads a tile; they are carried but
not believed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.types import F32

SET_MAGIC = b"TESM"
TILE_MAGIC = b"VAND"
TILE_VERSION = 7
SET_VERSIONS = (1, 2)
MAX_POLY_VERTICES = 6
NO_LINK = 0xFFFFFFFF
EXTERNAL = 0x8000  # in a neighbour entry: the edge lies on the tile's border, low bits say at which side
OFF_MESH_TYPE = 1  # of a polygon that stands for a jump between two points
WALK_FLAG = 0x01
DISABLED_FLAG = 0x04

SET_HEADER = np.dtype([("magic", "S4"), ("version", "<i4"), ("tiles", "<i4")])
NAVMESH_PARAMS = np.dtype(
    [
        ("origin", "<f4", 3),
        ("tile_width", "<f4"),
        ("tile_height", "<f4"),
        ("max_tiles", "<i4"),
        ("max_polys", "<i4"),
    ]
)
SETTINGS = np.dtype(
    [
        ("cell_size", "<f4"),
        ("cell_height", "<f4"),
        ("agent_height", "<f4"),
        ("agent_radius", "<f4"),
        ("agent_max_climb", "<f4"),
        ("agent_max_slope", "<f4"),
        ("region_min_size", "<f4"),
        ("region_merge_size", "<f4"),
        ("edge_max_length", "<f4"),
        ("edge_max_error", "<f4"),
        ("vertices_per_poly", "<f4"),
        ("detail_sample_distance", "<f4"),
        ("detail_sample_max_error", "<f4"),
        # Habitat has had three and has four switches here; the rest of the word is padding.
        ("filter_low_hanging_obstacles", "u1"),
        ("filter_ledge_spans", "u1"),
        ("filter_walkable_low_height_spans", "u1"),
        ("include_static_objects", "u1"),
    ]
)
TILE_PREFIX = np.dtype([("reference", "<u4"), ("size", "<i4")])
TILE_HEADER = np.dtype(
    [
        ("magic", "S4"),
        ("version", "<i4"),
        ("x", "<i4"),
        ("y", "<i4"),
        ("layer", "<i4"),
        ("user_id", "<u4"),
        ("polys", "<i4"),
        ("vertices", "<i4"),
        ("links", "<i4"),
        ("detail_meshes", "<i4"),
        ("detail_vertices", "<i4"),
        ("detail_triangles", "<i4"),
        ("bv_nodes", "<i4"),
        ("off_mesh", "<i4"),
        ("off_mesh_base", "<i4"),
        ("walkable_height", "<f4"),
        ("walkable_radius", "<f4"),
        ("walkable_climb", "<f4"),
        ("bmin", "<f4", 3),
        ("bmax", "<f4", 3),
        ("bv_quantisation", "<f4"),
    ]
)
VERTEX = np.dtype(("<f4", 3))
POLY = np.dtype(
    [
        ("first_link", "<u4"),
        ("vertices", "<u2", MAX_POLY_VERTICES),
        ("neighbours", "<u2", MAX_POLY_VERTICES),  # 0 none, n: polygon n - 1, or EXTERNAL | side
        ("flags", "<u2"),
        ("vertex_count", "u1"),
        ("area_and_type", "u1"),  # area in the low 6 bits, type in the high 2
    ]
)
LINK = np.dtype(
    [
        ("reference", "<u4"),
        ("next", "<u4"),
        ("edge", "u1"),
        ("side", "u1"),
        ("bmin", "u1"),
        ("bmax", "u1"),
    ]
)
DETAIL_MESH = np.dtype(
    [
        ("vertex_base", "<u4"),
        ("triangle_base", "<u4"),
        ("vertex_count", "u1"),
        ("triangle_count", "u1"),
        ("padding", "<u2"),
    ]
)
DETAIL_TRIANGLE = np.dtype([("corners", "u1", 3), ("edge_flags", "u1")])
BV_NODE = np.dtype([("bmin", "<u2", 3), ("bmax", "<u2", 3), ("index", "<i4")])
OFF_MESH = np.dtype(
    [
        ("ends", "<f4", 6),
        ("radius", "<f4"),
        ("poly", "<u2"),
        ("flags", "u1"),
        ("side", "u1"),
        ("user_id", "<u4"),
    ]
)

# (attribute of Tile, count in the header, record), in the order of the file.
SECTIONS: tuple[tuple[str, str, np.dtype], ...] = (
    ("vertices", "vertices", VERTEX),
    ("polys", "polys", POLY),
    ("links", "links", LINK),
    ("detail_meshes", "detail_meshes", DETAIL_MESH),
    ("detail_vertices", "detail_vertices", VERTEX),
    ("detail_triangles", "detail_triangles", DETAIL_TRIANGLE),
    ("bv_nodes", "bv_nodes", BV_NODE),
    ("off_mesh", "off_mesh", OFF_MESH),
)

Records = NDArray[np.void]


@dataclass(frozen=True, eq=False)
class Tile:
    reference: int
    header: np.void  # TILE_HEADER
    vertices: F32  # (V, 3) metres
    polys: Records  # (P,) POLY
    links: Records  # (L,) LINK
    detail_meshes: Records  # (P without off-mesh,) DETAIL_MESH
    detail_vertices: F32  # (D, 3) metres
    detail_triangles: Records  # (T,) DETAIL_TRIANGLE
    bv_nodes: Records  # (B,) BV_NODE
    off_mesh: Records  # (O,) OFF_MESH

    def sections(self) -> tuple[NDArray[np.generic], ...]:
        return tuple(getattr(self, name) for name, _, _ in SECTIONS)


@dataclass(frozen=True, eq=False)
class NavMeshFile:
    """A whole file; equal files have equal `to_bytes`."""

    version: int
    params: np.void  # NAVMESH_PARAMS
    settings: np.void | None  # SETTINGS, None in version 1
    tiles: tuple[Tile, ...]

    def to_bytes(self) -> bytes:
        head = np.array([(SET_MAGIC, self.version, len(self.tiles))], SET_HEADER)
        parts = [head.tobytes(), self.params.tobytes()]
        if self.settings is not None:
            parts.append(self.settings.tobytes())
        for tile in self.tiles:
            content = tile_bytes(tile.header, tile.sections())
            parts += [np.array([(tile.reference, len(content))], TILE_PREFIX).tobytes(), content]
        return b"".join(parts)


def tile_bytes(header: np.void, sections: Sequence[NDArray[np.generic]]) -> bytes:
    return header.tobytes() + b"".join(np.ascontiguousarray(s).tobytes() for s in sections)
