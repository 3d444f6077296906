"""Reading and writing `.navmesh` files. What is read has been checked: every index in it points inside."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import DataError
from sinew_sim.indoor import navmesh_layout as layout
from sinew_sim.indoor.bounded_file import MEBIBYTE, read_bytes, write_bytes
from sinew_sim.indoor.navmesh_layout import NavMeshFile, Tile

MAX_BYTES = 512 * MEBIBYTE
MAX_COORDINATE_M = 1e5
_REMEDY = "the file is damaged or no navigation mesh of Habitat: fetch it again"


def read_navmesh(path: Path, *, max_bytes: int = MAX_BYTES) -> NavMeshFile:
    """Raises DataError naming file, field, value and what was expected."""
    return parse_navmesh(read_bytes(path, max_bytes=max_bytes), str(path))


def write_navmesh(mesh: NavMeshFile, path: Path) -> None:
    """Writes the whole file or nothing. Raises DataError for a mesh that `read_navmesh` would refuse."""
    data = mesh.to_bytes()
    parse_navmesh(data, str(path))
    write_bytes(path, data)


def parse_navmesh(data: bytes, name: str) -> NavMeshFile:
    """The mesh in `data`; `name` stands in the messages. Memory stays within a small multiple of `data`."""
    cursor = _Cursor(data, name)
    head = cursor.record(layout.SET_HEADER, "set header")
    magic, version, tiles = bytes(data[:4]), int(head["version"]), int(head["tiles"])
    if magic != layout.SET_MAGIC:
        raise DataError(f"{name}: starts with {magic!r}, expected {layout.SET_MAGIC!r}; {_REMEDY}")
    if version not in layout.SET_VERSIONS:
        raise cursor.fault("version", version, "1 or 2")
    params = cursor.record(layout.NAVMESH_PARAMS, "parameters")
    settings = cursor.record(layout.SETTINGS, "settings") if version == 2 else None
    _check_finite(cursor, "parameters", params)
    if settings is not None:
        _check_finite(cursor, "settings", settings)
    smallest = layout.TILE_PREFIX.itemsize + layout.TILE_HEADER.itemsize
    if not 0 <= tiles <= cursor.left // smallest:
        raise cursor.fault("number of tiles", tiles, f"0 to {cursor.left // smallest}, which the file has room for")
    read = tuple(_tile(cursor, index) for index in range(tiles))
    if cursor.left:
        raise cursor.fault("bytes after the last tile", cursor.left, "none")
    return NavMeshFile(version, params, settings, read)


@dataclass
class _Cursor:
    """Walks the bytes; every array it hands out is a read-only view that lies within them."""

    data: bytes
    name: str
    place: int = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.place

    def fault(self, what: str, value: object, expected: str) -> DataError:
        return DataError(f"{self.name}: {what} is {value}, expected {expected}; {_REMEDY}")

    def array(self, record: np.dtype, count: int, what: str) -> NDArray[np.generic]:
        if count < 0 or count * record.itemsize > self.left:
            room = self.left // record.itemsize
            raise self.fault(f"number of {what}", count, f"0 to {room}, which the file has room for")
        found = np.frombuffer(self.data, record, count, self.place)
        self.place += count * record.itemsize
        return found

    def record(self, record: np.dtype, what: str) -> np.void:
        if record.itemsize > self.left:
            raise DataError(
                f"{self.name}: ends after {len(self.data)} bytes within the {what}, which need "
                f"{record.itemsize - self.left} more; {_REMEDY}"
            )
        one = np.frombuffer(self.data, record, 1, self.place)[0]
        self.place += record.itemsize
        assert isinstance(one, np.void)
        return one


def _tile(cursor: _Cursor, index: int) -> Tile:
    where = f"tile {index}"
    prefix = cursor.record(layout.TILE_PREFIX, f"reference of {where}")
    size = int(prefix["size"])
    if not layout.TILE_HEADER.itemsize <= size <= cursor.left:
        raise cursor.fault(f"{where}: size", size, f"{layout.TILE_HEADER.itemsize} to {cursor.left} bytes")
    start = cursor.place
    magic = bytes(cursor.data[start : start + 4])
    header = cursor.record(layout.TILE_HEADER, f"header of {where}")
    if magic != layout.TILE_MAGIC:
        raise cursor.fault(f"{where}: magic", repr(magic), repr(layout.TILE_MAGIC))
    if int(header["version"]) != layout.TILE_VERSION:
        raise cursor.fault(f"{where}: version", int(header["version"]), str(layout.TILE_VERSION))
    needed = layout.TILE_HEADER.itemsize
    for _, count, record in layout.SECTIONS:
        if int(header[count]) < 0:
            raise cursor.fault(f"{where}: number of {count}", int(header[count]), "0 or more")
        needed += int(header[count]) * record.itemsize
    if needed != size:
        raise cursor.fault(f"{where}: size", size, f"{needed} bytes, which the counts in its header add up to")
    arrays = {name: cursor.array(record, int(header[count]), name) for name, count, record in layout.SECTIONS}
    tile = Tile(int(prefix["reference"]), header, **arrays)  # type: ignore[arg-type]
    _check_tile(cursor, tile, where)
    return tile


def _check_tile(cursor: _Cursor, tile: Tile, where: str) -> None:
    _check_finite(cursor, f"{where}: header", tile.header)
    for name in ("vertices", "detail_vertices"):
        xyz = getattr(tile, name)
        bad = np.flatnonzero(~(np.abs(xyz) < MAX_COORDINATE_M).all(axis=1))  # NaN compares false
        if len(bad):
            raise cursor.fault(
                f"{where}: {name}[{bad[0]}]", xyz[bad[0]].tolist(), f"finite metres below {MAX_COORDINATE_M:g}"
            )
    _check_polys(cursor, tile, where)
    _check_details(cursor, tile, where)
    nodes = tile.bv_nodes["index"].astype(np.int64)
    ahead = np.arange(len(nodes)) - nodes  # an inner node says, negated, how many nodes to skip
    wrong = np.flatnonzero(np.where(nodes >= 0, nodes >= max(1, len(tile.polys)), ahead > len(nodes)))
    if len(wrong):
        raise cursor.fault(
            f"{where}: bv_nodes[{wrong[0]}].index", int(nodes[wrong[0]]), "a polygon or a skip inside"
        )


def _check_polys(cursor: _Cursor, tile: Tile, where: str) -> None:
    polys = tile.polys
    off_mesh = polys["area_and_type"] >> 6 == layout.OFF_MESH_TYPE
    counts = polys["vertex_count"]
    least = np.where(off_mesh, 2, 3)
    wrong = np.flatnonzero((counts < least) | (counts > layout.MAX_POLY_VERTICES))
    if len(wrong):
        p = wrong[0]
        raise cursor.fault(f"{where}: polys[{p}].vertex_count", int(counts[p]), f"{least[p]} to 6")
    used = np.arange(layout.MAX_POLY_VERTICES) < counts[:, None]
    outside = np.argwhere(used & (polys["vertices"] >= len(tile.vertices)))
    if len(outside):
        p, corner = outside[0]
        value = int(polys["vertices"][p, corner])
        raise cursor.fault(f"{where}: polys[{p}].vertices[{corner}]", value, f"below {len(tile.vertices)}")
    neighbours = polys["neighbours"].astype(np.int64)
    external = neighbours & layout.EXTERNAL != 0
    good = np.where(external, (neighbours & ~layout.EXTERNAL) < 8, neighbours <= len(polys))
    outside = np.argwhere(used & ~good)
    if len(outside):
        p, edge = outside[0]
        raise cursor.fault(
            f"{where}: polys[{p}].neighbours[{edge}]", int(neighbours[p, edge]), f"0 to {len(polys)} or a tile side"
        )


def _check_details(cursor: _Cursor, tile: Tile, where: str) -> None:
    details = tile.detail_meshes
    if len(details) > len(tile.polys):
        raise cursor.fault(
            f"{where}: number of detail_meshes", len(details), f"at most {len(tile.polys)} (polygons)"
        )
    for base, count, total, what in (
        ("vertex_base", "vertex_count", len(tile.detail_vertices), "detail_vertices"),
        ("triangle_base", "triangle_count", len(tile.detail_triangles), "detail_triangles"),
    ):
        ends = details[base].astype(np.int64) + details[count]
        wrong = np.flatnonzero(ends > total)
        if len(wrong):
            d = wrong[0]
            raise cursor.fault(f"{where}: detail_meshes[{d}] reaches to {what}", int(ends[d]), f"at most {total}")
        # No two polygons share them; a file that says otherwise could ask for any amount of work.
        claimed = int(details[count].sum(dtype=np.int64))
        if claimed > total:
            raise cursor.fault(f"{where}: {what} of all detail_meshes together", claimed, f"at most {total}")
    corners = tile.detail_triangles["corners"].astype(np.int64).max(axis=1, initial=0)
    room = tile.polys["vertex_count"][: len(details)].astype(np.int64) + details["vertex_count"]
    owner = np.repeat(np.arange(len(details)), details["triangle_count"])
    firsts = np.repeat(
        np.cumsum(details["triangle_count"], dtype=np.int64) - details["triangle_count"], details["triangle_count"]
    )
    triangle = np.repeat(details["triangle_base"].astype(np.int64), details["triangle_count"]) + (
        np.arange(len(owner)) - firsts
    )
    wrong = np.flatnonzero(corners[triangle] >= room[owner])
    if len(wrong):
        d, t = owner[wrong[0]], triangle[wrong[0]]
        raise cursor.fault(
            f"{where}: detail_triangles[{t}] of polygon {d}: corner", int(corners[t]), f"below {room[d]}"
        )


def _check_finite(cursor: _Cursor, where: str, record: np.void) -> None:
    for name in record.dtype.names or ():
        value = record[name]
        if record.dtype[name].base.kind == "f" and not np.isfinite(value).all():
            raise cursor.fault(f"{where}.{name}", np.asarray(value).tolist(), "finite numbers")
