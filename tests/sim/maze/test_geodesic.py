"""Distances on the grid agree with paths computed by hand."""

import numpy as np
import pytest

from sinew_policies.common.errors import DataError
from sinew_sim.maze.boxes import inflated, inside
from sinew_sim.maze.geodesic import DistanceGrid, interpolate
from sinew_sim.maze.world import MazeConfig, MazeWorld, make_world

RADIUS = 0.18
MAZE = MazeConfig(cells=3, cell_m=1.5, landmarks=4, open_walls=0.4)
LONGEST = 1.028  # of a path in 16 directions, compared with the straight one


def room(*boxes: tuple[float, float, float, float], size_m: float = 6.0) -> MazeWorld:
    b = 0.05
    outer = [(-b, -b, size_m + b, b), (-b, size_m - b, size_m + b, size_m + b), (-b, -b, b, size_m + b)]
    outer.append((size_m - b, -b, size_m + b, size_m + b))
    all_boxes = np.array([*outer, *boxes], np.float64)
    none = np.zeros(0, np.int64)
    return MazeWorld(all_boxes, np.zeros((len(all_boxes), 3)), none, none, size_m)


def distance(world: MazeWorld, start: tuple[float, float], goal: tuple[float, float]) -> float:
    field = DistanceGrid(world, RADIUS).field(np.array(goal))
    return float(interpolate(field[None], np.array([start]))[0])


@pytest.mark.parametrize("goal", [(5.0, 1.0), (5.0, 5.0), (1.0, 3.0), (4.3, 2.6), (2.0, 5.4)])
def test_in_an_empty_room_the_way_is_straight(goal: tuple[float, float]) -> None:
    straight = float(np.hypot(goal[0] - 1.0, goal[1] - 1.0))
    assert straight - 1e-9 <= distance(room(), (1.0, 1.0), goal) <= LONGEST * straight


def test_around_a_wall_the_way_bends_at_its_corners() -> None:
    wall = (2.9, 0.0, 3.1, 4.0)  # from the far side down to z = 4
    got = distance(room(wall), (1.0, 1.0), (5.0, 1.0))
    a, b = np.array([2.9 - RADIUS, 4.0 + RADIUS]), np.array([3.1 + RADIUS, 4.0 + RADIUS])
    exact = np.linalg.norm(a - 1.0) + np.linalg.norm(b - a) + np.linalg.norm(b - np.array([5.0, 1.0]))
    assert exact <= got <= LONGEST * exact + 0.15  # corners lie between grid nodes


def test_a_gap_narrower_than_the_body_is_no_way() -> None:
    narrow = [(2.9, 0.0, 3.1, 2.8), (2.9, 3.1, 3.1, 6.0)]  # 0.3 m wide
    wide = [(2.9, 0.0, 3.1, 2.7), (2.9, 3.3, 3.1, 6.0)]
    assert distance(room(*narrow), (1.0, 1.0), (5.0, 1.0)) == np.inf
    assert np.isfinite(distance(room(*wide), (1.0, 1.0), (5.0, 1.0)))


def test_distances_are_symmetric_and_obey_the_triangle_inequality() -> None:
    world = make_world(MAZE, seed=3, index=0)
    grid = DistanceGrid(world, RADIUS)
    places = np.argwhere(grid.free) * 0.1
    a, b, c = (places[i] for i in np.random.default_rng(0).choice(len(places), 3, replace=False))
    to_a, to_b = grid.field(a)[None], grid.field(b)[None]
    ab = interpolate(to_b, a[None])[0]
    assert ab == pytest.approx(interpolate(to_a, b[None])[0], abs=1e-9)
    assert ab <= interpolate(to_a, c[None])[0] + interpolate(to_b, c[None])[0] + 1e-9


def test_a_short_move_changes_the_distance_little() -> None:
    """Also beside walls and corners, where some of the four nodes around a place lie inside an obstacle."""
    world = make_world(MAZE, seed=3, index=1)
    field = DistanceGrid(world, RADIUS).field(np.array([0.7, 0.7]))[None]
    draw = np.random.default_rng(0)
    places = draw.uniform(0.3, 4.2, (2000, 2))
    near = places + draw.uniform(-0.02, 0.02, (2000, 2))
    obstacles = inflated(world.boxes, RADIUS)
    walkable = ~inside(places, obstacles) & ~inside(near, obstacles)
    before = interpolate(np.repeat(field, 2000, 0), places)[walkable]
    after = interpolate(np.repeat(field, 2000, 0), near)[walkable]
    assert walkable.sum() > 500
    assert np.abs(before - after).max() < 0.1


def test_a_goal_outside_is_named() -> None:
    with pytest.raises(DataError, match=r"goal .* lies outside the maze of 6\.0 m"):
        DistanceGrid(room(), RADIUS).field(np.array([7.0, 1.0]))
