"""Distances, snapping and sampling: against an exact oracle, fast marching, and what Detour itself answered."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indoor_fakes.grid import exact_distance, mesh_of, random_map
from numpy.typing import NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_sim.indoor.navmesh import NavMesh
from sinew_sim.indoor.navmesh_build import build_navmesh

DATA = Path(__file__).parents[2] / "data/indoor"
NAMES = ("recast_single", "recast_single_v1", "recast_tiled")


def _recast(name: str) -> tuple[NavMesh, NDArray[np.float64]]:
    mesh = NavMesh.read(DATA / f"{name}.navmesh")
    return mesh, np.loadtxt(DATA / f"{name}.queries.csv", delimiter=",", skiprows=1)


@pytest.mark.parametrize("name", NAMES)
def test_points_snap_to_where_detour_snaps_them(name: str) -> None:
    mesh, queries = _recast(name)
    assert len(queries) == 150
    for row in queries:
        for point, expected in ((row[0:3], row[6:9]), (row[3:6], row[9:12])):
            found = mesh.snap(point)
            assert found is not None
            np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_paths_are_as_short_as_detours_or_shorter(name: str) -> None:
    """Detour fixes a corridor first; where it picks the right one, which is mostly, the lengths are equal."""
    mesh, queries = _recast(name)
    ours = np.array([mesh.geodesic(row[0:3], row[3:6]) for row in queries])
    theirs = queries[:, 12]
    assert (np.isinf(ours) == np.isinf(theirs)).all()
    far = np.isfinite(theirs) & (theirs > 0.1)
    ratio = ours[far] / theirs[far]
    assert ratio.max() < 1.0001
    assert np.median(ratio) > 0.9999
    assert (ratio > 0.98).mean() > 0.85


def test_a_ramp_joins_two_floors() -> None:
    mesh, _ = _recast("recast_single")
    path = mesh.path((0.0, 0.2, 7.0), (7.5, 2.6, -3.0))
    assert path is not None
    assert path.points[-1][1] - path.points[0][1] == pytest.approx(2.4)
    # Straight above the strip the other floor is another place: nothing leads up there but the ramp.
    assert mesh.geodesic((7.5, 0.2, 5.5), (7.5, 2.6, 4.5)) > 5.0


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["anywhere", "centres", "corners"]))
@settings(max_examples=60, deadline=None)
def test_distances_are_exact_on_random_maps(seed: int, kind: str) -> None:
    """Cell corners are the hard case: every ray along a wall, through a corner, or both."""
    rng = np.random.default_rng(seed)
    free = random_map(rng, int(rng.integers(2, 7)), int(rng.integers(2, 8)))
    cells = np.argwhere(free)
    if len(cells) == 0:
        return
    mesh = NavMesh(build_navmesh(*mesh_of(free)))
    for _ in range(3):
        offset = {"anywhere": rng.random((2, 2)), "centres": np.full((2, 2), 0.5)}.get(
            kind, rng.integers(0, 2, (2, 2))
        )
        start, goal = cells[rng.integers(len(cells), size=2)][:, ::-1] + offset
        found = mesh.geodesic((start[0], 0.0, start[1]), (goal[0], 0.0, goal[1]))
        expected = exact_distance(free, start, goal)
        if kind == "corners" and math.isinf(found) != math.isinf(expected):
            continue  # a corner of two rooms that do not meet belongs to either
        assert found == pytest.approx(expected, abs=1e-6)


def test_distances_agree_with_fast_marching_within_two_percent() -> None:
    """An Eikonal solver on a fine grid knows neither polygons nor corners."""
    free = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [0, 0, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    mesh = NavMesh(build_navmesh(*mesh_of(free)))
    fine = 61
    field = _fast_march(np.kron(free, np.ones((fine, fine), bool)), (fine // 2, fine // 2), 1.0 / fine)
    for i, j in np.argwhere(free):
        expected = field[i * fine + fine // 2, j * fine + fine // 2]
        found = mesh.geodesic((0.5, 0.0, 0.5), (j + 0.5, 0.0, i + 0.5))
        assert found == pytest.approx(expected, rel=0.02)


def _fast_march(free: NDArray[np.bool_], start: tuple[int, int], h: float) -> NDArray[np.float64]:
    """First-order upwind distances by fast sweeping, exact in a small disc around the start."""
    rows, columns = np.indices(free.shape)
    direct = np.hypot(rows - start[0], columns - start[1]) * h
    field = np.where(direct <= 8 * h, direct, np.inf)
    fixed = direct <= 8 * h
    for _ in range(1500):
        padded = np.pad(field, 1, constant_values=np.inf)
        a = np.minimum(padded[1:-1, :-2], padded[1:-1, 2:])
        b = np.minimum(padded[:-2, 1:-1], padded[2:, 1:-1])
        low, high = np.minimum(a, b), np.maximum(a, b)
        gap = np.where(np.isfinite(high), high - np.where(np.isfinite(low), low, 0.0), np.inf)
        two_sided = gap < h
        safe = np.where(two_sided, gap, 0.0)
        new = np.where(two_sided, low + (safe + np.sqrt(2 * h * h - safe**2)) / 2.0, low + h)
        new = np.where(free & ~fixed, np.minimum(field, new), np.where(free, field, np.inf))
        if np.array_equal(new, field):
            return new
        field = new
    raise AssertionError("fast sweeping did not settle")


def test_the_path_turns_at_corners_only() -> None:
    free = np.ones((3, 5), bool)
    free[0:2, 2] = False
    path = NavMesh(build_navmesh(*mesh_of(free))).path((1.0, 0.0, 0.5), (4.0, 0.0, 0.5))
    assert path is not None
    assert path.points == ((1.0, 0.0, 0.5), (2.0, 0.0, 2.0), (3.0, 0.0, 2.0), (4.0, 0.0, 0.5))
    assert path.length_m == pytest.approx(2 * math.hypot(1.0, 1.5) + 1.0)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_nearest_of_many_goals_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    free = random_map(rng, 6, 6, 0.75)
    if not free.any():
        return
    mesh = NavMesh(build_navmesh(*mesh_of(free)))
    start, *goals = mesh.sample(rng, 6)
    targets = mesh.targets(np.array(goals))
    single = [mesh.geodesic(start, g) for g in goals]
    assert mesh.geodesic(start, targets) == pytest.approx(min(single))
    found = mesh.path(start, targets)
    assert (found is None) == math.isinf(min(single))
    if found is not None:
        assert single[found.goal] == pytest.approx(min(single))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_distances_are_a_metric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mesh, _ = _recast("recast_single")
    a, b, c = mesh.sample(rng, 3)
    ab, ba = mesh.geodesic(a, b), mesh.geodesic(b, a)
    # A straight stretch may run over the edge of a ramp or touch it as a turn: one way or the other, in the plane
    # it is one line, in space a chord or two legs.
    assert ab == pytest.approx(ba, rel=0.04)  # the worst of 3,000 seeds is 3.2 %
    assert ab >= np.linalg.norm(a - b) - 1e-9
    assert mesh.geodesic(a, c) <= (ab + mesh.geodesic(b, c)) * 1.03
    assert mesh.geodesic(a, a) == 0.0


def test_islands_do_not_reach_each_other() -> None:
    free = np.ones((3, 5), bool)
    free[:, 2] = False
    mesh = NavMesh(build_navmesh(*mesh_of(free)))
    assert mesh.geodesic((0.5, 0, 0.5), (4.5, 0, 0.5)) == math.inf
    assert mesh.path((0.5, 0, 0.5), (4.5, 0, 0.5)) is None
    assert mesh.island((0.5, 0, 0.5)) != mesh.island((4.5, 0, 0.5))
    assert sorted(mesh.island_areas_m2) == pytest.approx([6.0, 6.0])
    reached = mesh.path((0.5, 0, 0.5), [(4.5, 0, 0.5), (0.5, 0, 2.5)])
    assert reached is not None
    assert reached.goal == 1


def test_standing_on_the_mesh() -> None:
    mesh = NavMesh(build_navmesh(*mesh_of(np.ones((2, 2), bool), height_m=1.0)))
    assert mesh.is_navigable((0.5, 1.4, 0.5))
    assert not mesh.is_navigable((0.5, 1.6, 0.5))
    assert mesh.is_navigable((0.5, 1.6, 0.5), max_step_m=0.7)
    assert not mesh.is_navigable((-0.02, 1.0, 0.5))
    assert mesh.is_navigable((-0.005, 1.0, 0.5))
    assert mesh.snap((-1.5, 1.0, 0.5)) == pytest.approx(np.array([0.0, 1.0, 0.5]))
    assert mesh.snap((-2.5, 1.0, 0.5)) is None
    assert mesh.snap((0.5, 5.5, 0.5)) is None
    assert mesh.geodesic((9.0, 1.0, 0.5), (0.5, 1.0, 0.5)) == math.inf
    assert mesh.geodesic((0.5, 1.0, 0.5), np.zeros((0, 3))) == math.inf


def test_of_two_floors_the_nearer_is_meant() -> None:
    low, polygons = mesh_of(np.ones((1, 1), bool))
    high, _ = mesh_of(np.ones((1, 1), bool), height_m=2.5)
    mesh = NavMesh(build_navmesh(np.concatenate([low, high]), [*polygons, tuple(v + 4 for v in polygons[0])]))
    for height, floor in ((0.3, 0.0), (1.0, 0.0), (1.5, 2.5), (2.6, 2.5)):
        snapped = mesh.snap((0.5, height, 0.5))
        assert snapped is not None
        assert snapped[1] == floor


def test_samples_cover_the_surface_evenly_and_repeat_by_seed() -> None:
    free = np.array([[1, 1, 0], [0, 1, 1]], bool)
    mesh = NavMesh(build_navmesh(*mesh_of(free)))
    points = mesh.sample(stream(3, "navigable"), 4000)
    assert all(mesh.is_navigable(p) for p in points[:50])
    counts = np.zeros(free.shape)
    np.add.at(counts, (points[:, 2].astype(int), points[:, 0].astype(int)), 1)
    assert (counts[~free] == 0).all()
    assert np.abs(counts[free] - 1000).max() < 5 * math.sqrt(1000 * 0.75)
    assert np.array_equal(points, mesh.sample(stream(3, "navigable"), 4000))
    assert not np.array_equal(points, mesh.sample(stream(4, "navigable"), 4000))


def test_samples_keep_to_an_island() -> None:
    free = np.ones((3, 5), bool)
    free[:, 2] = False
    mesh = NavMesh(build_navmesh(*mesh_of(free)))
    left = mesh.island((0.5, 0, 0.5))
    assert (mesh.sample(stream(0, "x"), 200, island=left)[:, 0] <= 2.0).all()
    with pytest.raises(DataError, match="no connected component 7; valid: 0 to 1"):
        mesh.sample(stream(0, "x"), island=7)


@pytest.mark.parametrize("point", [(0.0, float("nan"), 0.0), (0.0, 1.0), (float("inf"), 0.0, 0.0)])
def test_points_must_be_points(point: tuple[float, ...]) -> None:
    mesh = NavMesh(build_navmesh(*mesh_of(np.ones((1, 1), bool))))
    with pytest.raises(DataError, match="expected three finite coordinates"):
        mesh.snap(point)


def test_a_mesh_without_ground_says_so() -> None:
    file = build_navmesh(*mesh_of(np.ones((1, 1), bool)))
    file.tiles[0].polys["flags"] = 4
    mesh = NavMesh(file, "empty.navmesh")
    assert mesh.area_m2 == 0.0
    assert mesh.snap((0.5, 0, 0.5)) is None
    with pytest.raises(DataError, match=r"empty\.navmesh has no walkable polygon"):
        mesh.sample(stream(0, "x"))
