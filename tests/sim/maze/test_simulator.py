"""Agents move as PSL's robot does, and see what stands before them."""

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError, DataError
from sinew_sim.maze.boxes import inflated, inside
from sinew_sim.maze.episodes import RADIUS_M, EpisodeSet, Pose, make_episodes, make_worlds
from sinew_sim.maze.simulator import FORWARD, LEFT, RIGHT, STOP, MazeSimulator, SimulatorConfig
from sinew_sim.maze.world import PALETTE, MazeConfig

MAZE = MazeConfig(cells=3, cell_m=1.5, landmarks=4, open_walls=0.4)


@pytest.fixture(scope="module")
def episodes() -> EpisodeSet:
    return make_episodes(make_worlds(MAZE, 3, 0), 24, 0)


def actions(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_steps_and_turns_have_their_published_sizes(episodes: EpisodeSet) -> None:
    simulator = MazeSimulator(episodes, 4)
    simulator.pose[:] = [0.75, 0.75, 0.3]
    before = simulator.pose.copy()
    simulator.act(actions(STOP, FORWARD, LEFT, RIGHT))
    np.testing.assert_allclose(simulator.pose[0], before[0], atol=1e-12)
    moved = simulator.pose[1, :2] - before[1, :2]
    assert np.linalg.norm(moved) <= 0.25 + 1e-9
    np.testing.assert_allclose(np.rad2deg(simulator.pose[:, 2] - before[:, 2]), [0.0, 0.0, 30.0, -30.0], atol=1e-9)
    np.testing.assert_allclose(simulator.path_m, [0.0, np.linalg.norm(moved), 0.0, 0.0])


def test_yaw_0_looks_along_minus_z_and_left_is_minus_x(episodes: EpisodeSet) -> None:
    simulator = MazeSimulator(episodes, 2)
    simulator.pose[:] = [[2.0, 2.0, 0.0], [2.0, 2.0, np.pi / 2]]
    simulator._obstacles = simulator._obstacles * 0.0 - 1e6  # an empty plane
    simulator.act(actions(FORWARD, FORWARD))
    np.testing.assert_allclose(simulator.pose[:, :2], [[2.0, 1.75], [1.75, 2.0]], atol=1e-12)


def test_a_blocked_step_ends_at_contact_without_sliding(episodes: EpisodeSet) -> None:
    simulator = MazeSimulator(episodes, 1)
    half = 0.5 * MAZE.wall_m
    simulator.pose[0] = [2.25, half + RADIUS_M + 0.1, 0.2]
    for _ in range(3):
        simulator.act(actions(FORWARD))
    gap = simulator.pose[0, 1] - half - RADIUS_M
    assert 0.0 < gap < 2e-3
    stuck = simulator.pose.copy()
    simulator.act(actions(FORWARD))
    np.testing.assert_allclose(simulator.pose[0, :2], stuck[0, :2], atol=2e-3)
    assert simulator.path_m[0] < 0.12


def test_no_walk_ever_enters_a_wall_or_loses_its_distance(episodes: EpisodeSet) -> None:
    simulator = MazeSimulator(episodes, 8)
    simulator.place(np.arange(8), np.arange(8))
    draw = np.random.default_rng(0)
    for _ in range(300):
        before = simulator.distance_m()
        walked = simulator.path_m.copy()
        simulator.act(draw.choice(4, 8, p=[0.0, 0.6, 0.2, 0.2]))
        for env, (x, z, _) in enumerate(simulator.pose):
            world = episodes.worlds[episodes.episodes[int(simulator.episode[env])].world]
            assert not inside(np.array([x, z]), inflated(world.boxes, RADIUS_M - 1e-9))
        after = simulator.distance_m()
        assert np.isfinite(after).all()
        assert (np.abs(after - before) <= 1.1 * (simulator.path_m - walked) + 0.11).all()


def test_a_view_shows_the_landmark_in_its_colour_and_size(episodes: EpisodeSet) -> None:
    simulator = MazeSimulator(episodes, 1, SimulatorConfig(columns=25))
    for number, episode in enumerate(episodes.episodes[:8]):
        simulator.place(np.array([0]), np.array([number]))
        goal = simulator.goal_views()[0]
        world = episodes.worlds[episode.world]
        centre = goal[12]
        colours = PALETTE[world.landmark_colours]
        likeness = [float(c @ centre[:3] / np.linalg.norm(c) / np.linalg.norm(centre[:3])) for c in colours]
        assert max(likeness) > 0.999
        simulator.pose[0] = episode.goal.array
        np.testing.assert_array_equal(simulator.views()[0], goal)
    assert goal.shape == (25, 4)
    assert ((goal >= 0.0) & (goal <= 1.0)).all()


def test_turning_left_moves_the_picture_to_the_right(episodes: EpisodeSet) -> None:
    c = SimulatorConfig(columns=80, fov_rad=float(np.deg2rad(79.0)))  # one column per degree
    simulator = MazeSimulator(episodes, 1, c)
    simulator.place(np.array([0]), np.array([1]))
    before = simulator.views()[0, :, :3]
    simulator.act(actions(LEFT))
    np.testing.assert_allclose(simulator.views()[0, 30:, :3], before[:50], atol=1e-5)


def test_wrong_actions_are_named(episodes: EpisodeSet) -> None:
    simulator = MazeSimulator(episodes, 2)
    with pytest.raises(DataError, match="action 4 does not exist; expected 0 stop, 1 forward, 2 left, 3 right"):
        simulator.act(actions(0, 4))
    with pytest.raises(DataError, match=r"expected integers \(2,\)"):
        simulator.act(actions(0, 1, 2))
    with pytest.raises(DataError, match=r"expected integers \(2,\)"):
        simulator.act(np.zeros(2))
    with pytest.raises(ConfigError, match="columns is 1"):
        SimulatorConfig(columns=1)
    assert Pose(1.0, 2.0, 3.0).array.tolist() == [1.0, 2.0, 3.0]
