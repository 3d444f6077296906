"""Navigation meshes: bytes in, the same bytes out; whatever is wrong in them is named and never followed."""

import contextlib
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indoor_fakes.grid import mesh_of, random_map

from sinew_policies.common.errors import DataError
from sinew_sim.indoor import navmesh_layout as layout
from sinew_sim.indoor.navmesh import NavMesh
from sinew_sim.indoor.navmesh_build import build_navmesh
from sinew_sim.indoor.navmesh_file import parse_navmesh, read_navmesh, write_navmesh

DATA = Path(__file__).parents[2] / "data/indoor"
MESHES = sorted(DATA.glob("*.navmesh"))
HEADER = layout.SET_HEADER.itemsize + layout.NAVMESH_PARAMS.itemsize + layout.SETTINGS.itemsize
TILE = HEADER + layout.TILE_PREFIX.itemsize

SQUARE = ([[0, 0, 0], [2, 0, 0], [2, 0, 1], [0, 0, 1]], [[0, 1, 2, 3]])


def test_the_records_have_detours_sizes() -> None:
    sizes = [r.itemsize for r in (layout.SET_HEADER, layout.NAVMESH_PARAMS, layout.SETTINGS, layout.TILE_HEADER)]
    assert sizes == [12, 28, 56, 100]
    assert [record.itemsize for _, _, record in layout.SECTIONS] == [12, 32, 12, 12, 12, 4, 16, 36]


def test_there_are_meshes_of_recast_to_read() -> None:
    assert len(MESHES) == 3


@pytest.mark.parametrize("path", MESHES, ids=lambda p: p.stem)
def test_a_mesh_of_recast_is_written_back_byte_for_byte(path: Path, tmp_path: Path) -> None:
    mesh = read_navmesh(path)
    write_navmesh(mesh, tmp_path / "again.navmesh")
    assert (tmp_path / "again.navmesh").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", [p for p in MESHES if "single" in p.stem], ids=lambda p: p.stem)
def test_our_builder_joins_polygons_as_recast_and_detour_do(path: Path) -> None:
    """Same neighbours, orientation, links and tree from nothing but vertices and polygons."""
    theirs = read_navmesh(path).tiles[0]
    corners = [p["vertices"][: p["vertex_count"]].tolist() for p in theirs.polys]
    ours = build_navmesh(theirs.vertices, [c[::-1] if i % 2 else c for i, c in enumerate(corners)]).tiles[0]
    for p, (a, b) in enumerate(zip(ours.polys, theirs.polys, strict=True)):
        n = int(b["vertex_count"])
        start = a["vertices"][:n].tolist().index(b["vertices"][0])  # turning the order may shift it
        turned = [(start + k) % n for k in range(n)]
        assert a["vertices"][turned].tolist() == b["vertices"][:n].tolist(), f"polygon {p}"
        assert a["neighbours"][turned].tolist() == b["neighbours"][:n].tolist(), f"polygon {p}"
    straight = build_navmesh(theirs.vertices, corners).tiles[0]
    assert straight.links.tobytes() == theirs.links.tobytes()
    assert straight.polys.tobytes() == theirs.polys.tobytes()
    assert straight.reference == theirs.reference
    assert len(straight.bv_nodes) == len(theirs.bv_nodes)


@given(seed=st.integers(0, 2**32 - 1), version=st.sampled_from([1, 2]))
@settings(max_examples=40, deadline=None)
def test_built_meshes_survive_the_file(seed: int, version: int) -> None:
    free = random_map(np.random.default_rng(seed), 5, 6)
    if not free.any():
        free[0, 0] = True
    mesh = build_navmesh(*mesh_of(free), version=version)
    data = mesh.to_bytes()
    again = parse_navmesh(data, "x")
    assert again.to_bytes() == data
    assert (again.settings is None) == (version == 1)
    assert NavMesh(again).area_m2 == pytest.approx(free.sum())


def test_every_branch_of_the_tree_holds_its_polygons() -> None:
    tile = build_navmesh(*mesh_of(np.ones((7, 9), bool))).tiles[0]
    nodes = tile.bv_nodes[:-1]  # Detour reckons with one node more than it fills
    leaves = nodes[nodes["index"] >= 0]
    assert sorted(leaves["index"].tolist()) == list(range(63))
    for here, node in enumerate(nodes):
        if node["index"] < 0:
            branch = nodes[here + 1 : here - node["index"]]
            assert (branch["bmin"] >= node["bmin"]).all()
            assert (branch["bmax"] <= node["bmax"]).all()


@pytest.mark.parametrize(
    ("vertices", "polygons", "words"),
    [
        (SQUARE[0], [], "0 polygons; expected 1 to"),
        (SQUARE[0], [[0, 1]], "polygon 0 has the vertices [0, 1]; expected 3 to 6"),
        (SQUARE[0], [[0, 1, 1]], "expected 3 to 6 different ones"),
        (SQUARE[0], [[0, 1, 4]], "expected indices 0 to 3"),
        (SQUARE[0], [[0, 2, 1, 3]], "not convex or has no area"),
        (SQUARE[0], [[0, 1, 2], [1, 2, 3]], "same side of the edge from vertex"),
        ([[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]], "not convex or has no area"),
        ([[0, 0, float("nan")], [1, 0, 0], [2, 0, 1]], [[0, 1, 2]], "vertex 0 is [0.0, 0.0, nan]"),
        ([[0, 0]], [[0, 0, 0]], "shape (1, 2); expected (V, 3)"),
        ([[0, 0, 0], [9000, 0, 0], [0, 0, 1]], [[0, 1, 2]], "split it"),
    ],
)
def test_polygons_that_make_no_mesh_are_refused(
    vertices: list[list[float]], polygons: list[list[int]], words: str
) -> None:
    with pytest.raises(DataError) as fault:
        build_navmesh(vertices, polygons)
    assert words in str(fault.value)


def _square() -> bytearray:
    return bytearray(build_navmesh(*SQUARE).to_bytes())


def _field(record: np.dtype, name: str, base: int) -> int:
    assert record.fields is not None
    return base + int(record.fields[name][1])


POLYS_AT = TILE + layout.TILE_HEADER.itemsize + 4 * layout.VERTEX.itemsize


@pytest.mark.parametrize(
    ("offset", "packed", "words"),
    [
        (0, b"TSEM", "starts with b'TSEM', expected b'TESM'"),
        (4, struct.pack("<i", 3), "version is 3, expected 1 or 2"),
        (8, struct.pack("<i", 3), "number of tiles is 3, expected 0 to 2"),
        (8, struct.pack("<i", -1), "number of tiles is -1"),
        (12, struct.pack("<f", float("nan")), "parameters.origin"),
        (40, struct.pack("<f", float("inf")), "settings.cell_size"),
        (HEADER + 4, struct.pack("<i", 10**9), "tile 0: size is 1000000000"),
        (HEADER + 4, struct.pack("<i", -5), "tile 0: size is -5"),
        (TILE, b"VANE", "tile 0: magic is b'VANE'"),
        (TILE + 4, struct.pack("<i", 6), "tile 0: version is 6, expected 7"),
        (_field(layout.TILE_HEADER, "polys", TILE), struct.pack("<i", 2**31 - 1), "which the counts in its header"),
        (_field(layout.TILE_HEADER, "vertices", TILE), struct.pack("<i", -4), "number of vertices is -4"),
        (_field(layout.TILE_HEADER, "bmin", TILE), struct.pack("<f", float("nan")), "tile 0: header.bmin"),
        (TILE + 100, struct.pack("<f", float("nan")), "tile 0: vertices[0] is [nan"),
        (TILE + 100, struct.pack("<f", 1e30), "vertices[0] is [1.00000"),
        (
            _field(layout.POLY, "vertices", POLYS_AT) + 2,
            struct.pack("<H", 4),
            "polys[0].vertices[1] is 4, expected below 4",
        ),
        (_field(layout.POLY, "neighbours", POLYS_AT), struct.pack("<H", 2), "polys[0].neighbours[0] is 2"),
        (_field(layout.POLY, "vertex_count", POLYS_AT), b"\x07", "polys[0].vertex_count is 7, expected 3 to 6"),
        (_field(layout.POLY, "vertex_count", POLYS_AT), b"\x02", "polys[0].vertex_count is 2, expected 3 to 6"),
        (-32, struct.pack("<i", -77), "polys"),
    ],
)
def test_a_wrong_value_is_named(offset: int, packed: bytes, words: str) -> None:
    data = _square()
    if offset < 0:
        offset = len(data) - 2 * layout.BV_NODE.itemsize + _field(layout.BV_NODE, "index", 0)
        words = "bv_nodes[0].index is -77"
    data[offset : offset + len(packed)] = packed
    with pytest.raises(DataError) as fault:
        NavMesh(parse_navmesh(bytes(data), "house.navmesh"))
    assert words in str(fault.value)
    assert "house.navmesh" in str(fault.value)
    assert "fetch it again" in str(fault.value)


def test_details_that_reach_outside_are_refused() -> None:
    data = _square()
    details = POLYS_AT + layout.POLY.itemsize + 4 * layout.LINK.itemsize
    data[details + 4 : details + 8] = struct.pack("<I", 9)
    with pytest.raises(
        DataError, match=r"detail_meshes\[0\] reaches to detail_triangles is 11, expected at most 2"
    ):
        parse_navmesh(bytes(data), "x")
    data = _square()
    data[details + layout.DETAIL_MESH.itemsize + 2] = 4
    with pytest.raises(DataError, match=r"detail_triangles\[0\] of polygon 0: corner is 4, expected below 4"):
        parse_navmesh(bytes(data), "x")


@pytest.mark.parametrize("keep", [0, 3, 11, 12, 40, 95, 100, 150, 200, 300])
def test_a_cut_file_is_refused(keep: int) -> None:
    with pytest.raises(DataError, match="fetch it again"):
        parse_navmesh(bytes(_square()[:keep]), "x")


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(DataError, match="bytes after the last tile is 3"):
        parse_navmesh(bytes(_square()) + b"abc", "x")


def test_a_dented_polygon_is_refused() -> None:
    data = _square()
    data[TILE + 100 : TILE + 112] = struct.pack("<3f", 1.9, 0.0, 0.9)  # inside the triangle of the other three
    with pytest.raises(DataError, match=r"polygon 0 is not convex: a corner lies \d\.\d+ m beyond"):
        NavMesh(parse_navmesh(bytes(data), "x"))


def test_neighbours_must_agree() -> None:
    tile_start = TILE + layout.TILE_HEADER.itemsize + 9 * layout.VERTEX.itemsize
    data = bytearray(build_navmesh(*mesh_of(np.ones((2, 2), bool))).to_bytes())
    edges = _field(layout.POLY, "neighbours", tile_start)
    data[edges : edges + 12] = struct.pack("<6H", 4, 4, 4, 4, 0, 0)
    with pytest.raises(DataError, match="names polygon 3 as its neighbour at edge"):
        NavMesh(parse_navmesh(bytes(data), "x"))


def test_a_refused_mesh_leaves_no_file(tmp_path: Path) -> None:
    mesh = build_navmesh(*SQUARE)
    mesh.tiles[0].vertices[0, 0] = np.nan
    with pytest.raises(DataError, match="vertices"):
        write_navmesh(mesh, tmp_path / "a.navmesh")
    assert list(tmp_path.iterdir()) == []


@given(seed=st.integers(0, 2**32 - 1), which=st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_mutated_meshes_end_in_our_errors_only(seed: int, which: int) -> None:
    rng = random.Random(seed)
    data = bytearray(MESHES[which].read_bytes()) if rng.random() < 0.5 else _square()
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(min(len(data), rng.choice([200, len(data)])))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randint(1, 5)]
            case 2:
                value = rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FC00000, 0x7F800000, 0x50000000])
                data[at : at + 4] = struct.pack("<I", value)
            case _:
                data = data[:at]
        if not data:
            break
    with contextlib.suppress(DataError):
        mesh = NavMesh(parse_navmesh(bytes(data), "x"))
        if mesh.polygons.count:
            a, b = mesh.sample(np.random.default_rng(seed), 2)
            mesh.geodesic(a, b)
