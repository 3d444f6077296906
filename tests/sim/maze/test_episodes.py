"""Worlds and episodes repeat with their seed; episodes nobody can play are refused."""

from dataclasses import replace

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError, DataError
from sinew_sim.maze.boxes import cast, inflated, inside
from sinew_sim.maze.episodes import RADIUS_M, Episode, Pose, check_episodes, make_episodes, make_worlds
from sinew_sim.maze.geodesic import DistanceGrid
from sinew_sim.maze.world import MazeConfig, MazeWorld, make_world

MAZE = MazeConfig(cells=3, cell_m=1.5, landmarks=4, open_walls=0.4)


@pytest.mark.parametrize("seed", range(4))
def test_every_free_place_of_a_maze_can_be_reached(seed: int) -> None:
    world = make_world(MazeConfig(cells=4, landmarks=6, open_walls=0.0), seed, 0)
    grid = DistanceGrid(world, RADIUS_M)
    places = np.argwhere(grid.free)
    inner = places[((places > 0) & (places < len(grid.free) - 1)).all(1)]
    field = grid.field(inner[0] * 0.1)
    assert np.isfinite(field[tuple(inner.T)]).mean() > 0.99  # a landmark may cut off a corner


def test_the_same_seed_gives_the_same_worlds_and_others_differ() -> None:
    a, b = make_worlds(MAZE, 3, 5), make_worlds(MAZE, 2, 5)
    assert all(np.array_equal(x.boxes, y.boxes) for x, y in zip(a, b, strict=False))
    assert not np.array_equal(a[0].landmark_colours, a[1].landmark_colours) or not np.array_equal(
        a[0].boxes, a[1].boxes
    )
    assert make_episodes(b, 7, 1).episodes == make_episodes(b, 7, 1).episodes
    assert make_episodes(b, 7, 1).episodes != make_episodes(b, 7, 2).episodes


def test_goals_stand_before_their_landmark_and_look_at_it() -> None:
    worlds = make_worlds(MAZE, 2, 0)
    made = make_episodes(worlds, 40, 0, distance_m=(1.5, 6.0))
    assert len(made.episodes) == 40
    assert ((made.start_distance_m >= 1.5 - 1e-9) & (made.start_distance_m <= 6.0 + 1e-9)).all()
    for episode in made.episodes:
        world, goal = worlds[episode.world], episode.goal
        ahead = np.array([-np.sin(goal.yaw_rad), -np.cos(goal.yaw_rad)])
        hit = cast(goal.position[None], ahead[None, None], world.boxes[None])
        assert hit.box[0, 0] in world.landmarks
        assert not inside(episode.start.position, inflated(world.boxes, RADIUS_M))


@pytest.fixture(scope="module")
def world() -> MazeWorld:
    return make_world(MazeConfig(cells=2, cell_m=1.5, landmarks=1), 0, 0)


def episode(world: MazeWorld) -> Episode:
    return make_episodes([world], 1, 0, distance_m=(0.5, 9.0)).episodes[0]


def test_episodes_that_cannot_be_played_are_named(world: MazeWorld) -> None:
    good = episode(world)
    zero = replace(good, start=replace(good.goal, yaw_rad=0.3))
    with pytest.raises(DataError, match=r"episode 1 starts 0\.00 m from its goal, which is length zero"):
        check_episodes([world], [good, zero])
    blocked = replace(good, goal=Pose(0.0, 0.0, 0.0))
    with pytest.raises(DataError, match=r"episode 0: a body of 0\.18 m does not fit at its goal \[0\. 0\.\]"):
        check_episodes([world], [blocked])
    lost = replace(good, start=Pose(float("nan"), 1.0, 0.0))
    with pytest.raises(DataError, match=r"episode 0: its start .* is not finite"):
        check_episodes([world], [lost])
    with pytest.raises(DataError, match=r"episode 0 is in world 3; there are 1"):
        check_episodes([world], [replace(good, world=3)])
    with pytest.raises(DataError, match="no episodes were given"):
        check_episodes([world], [])


def test_an_unreachable_goal_is_named(world: MazeWorld) -> None:
    good = episode(world)
    wall = np.array([[1.45, 0.0, 1.55, 3.0]])  # cuts the maze in two
    cut = replace(world, boxes=np.concatenate([world.boxes, wall]), colours=np.ones((len(world.boxes) + 1, 3)))
    left, right = Pose(1.2, 1.2, 0.0), Pose(1.8, 1.8, 0.0)
    bare = replace(cut, boxes=cut.boxes[[0, 1, 2, 3, -1]], landmarks=np.zeros(0, np.int64))
    with pytest.raises(DataError, match="episode 0: no way leads from its start to its goal; drop it"):
        check_episodes([bare], [replace(good, start=left, goal=right)])


def test_impossible_mazes_and_ranges_are_named(world: MazeWorld) -> None:
    with pytest.raises(ConfigError, match="landmarks is 7; expected 1 to 6"):
        MazeConfig(cells=3, landmarks=7)
    with pytest.raises(ConfigError, match="cells is 100000; expected 2 to 64 per side"):
        MazeConfig(cells=100_000)
    with pytest.raises(ConfigError, match="leave no way through a cell"):
        MazeConfig(cell_m=1.0, landmark_m=0.4)
    with pytest.raises(ConfigError, match="0 < low < high"):
        make_episodes([world], 1, 0, distance_m=(2.0, 1.0))
    with pytest.raises(DataError, match=r"world 0 has no start between 50\.0 and 60\.0 m"):
        make_episodes([world], 1, 0, distance_m=(50.0, 60.0))
