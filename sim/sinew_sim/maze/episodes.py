"""Episodes: where an agent starts in a maze and which goal view it must find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_sim.maze.boxes import cast, inflated, inside
from sinew_sim.maze.geodesic import SPACING_M, DistanceGrid, interpolate
from sinew_sim.maze.world import MazeConfig, MazeWorld, make_world

RADIUS_M = 0.18  # half side of the body
GOAL_GAP_M = (0.45, 0.95)  # of a goal from its landmark's centre

_ATTEMPTS = 200


@dataclass(frozen=True)
class Pose:
    x_m: float
    z_m: float
    yaw_rad: float

    @property
    def position(self) -> F64:
        return np.array([self.x_m, self.z_m])

    @property
    def array(self) -> F64:
        return np.array([self.x_m, self.z_m, self.yaw_rad])


@dataclass(frozen=True)
class Episode:
    world: int  # index among the worlds it belongs to
    start: Pose
    goal: Pose  # stands before a landmark and faces it


@dataclass(frozen=True)
class EpisodeSet:
    """Checked episodes with the distance field of each goal."""

    worlds: tuple[MazeWorld, ...]
    episodes: tuple[Episode, ...]
    fields: F64  # (goals, n, n) metres to each goal
    field_of: tuple[int, ...]  # the row in `fields` of each episode
    start_distance_m: F64  # (episodes,)


def make_worlds(config: MazeConfig, n: int, seed: int) -> tuple[MazeWorld, ...]:
    if n < 1:
        raise ConfigError(f"{n} mazes were asked for; expected at least 1")
    return tuple(make_world(config, seed, i) for i in range(n))


def make_episodes(
    worlds: Sequence[MazeWorld], n: int, seed: int, *, distance_m: tuple[float, float] = (1.5, 30.0)
) -> EpisodeSet:
    """`n` episodes spread evenly over the worlds, whose starts are `distance_m` (low, high) from their goals.

    Raises ConfigError for an impossible range or number, DataError where a world has no such start.
    """
    low, high = distance_m
    if not 0.0 < low < high:
        raise ConfigError(f"distance_m is {distance_m}; expected metres 0 < low < high")
    if n < 1:
        raise ConfigError(f"{n} episodes were asked for; expected at least 1")
    episodes: list[Episode] = []
    for index, world in enumerate(worlds):
        count = n // len(worlds) + (index < n % len(worlds))
        if count == 0:
            continue
        draw = stream(seed, "episodes", index)
        grid = DistanceGrid(world, RADIUS_M)
        goals = [_goal(world, grid, int(row), draw) for row in world.landmarks]
        fields = [grid.field(goal.position) for goal in goals]
        for k in range(count):
            g = k % len(goals)
            start = _start(world, fields[g], low, high, draw, index)
            episodes.append(Episode(index, start, goals[g]))
    return check_episodes(worlds, episodes)


def check_episodes(worlds: Sequence[MazeWorld], episodes: Sequence[Episode]) -> EpisodeSet:
    """Episodes with their distance fields.

    Raises DataError naming the first episode whose start or goal lies in an obstacle, whose goal cannot be reached
    or that starts at its goal.
    """
    if not episodes:
        raise DataError("no episodes were given; make some with make_episodes")
    grids: dict[int, DistanceGrid] = {}
    rows: dict[tuple[int, float, float], int] = {}
    fields: list[F64] = []
    field_of: list[int] = []
    distances: list[float] = []
    for number, episode in enumerate(episodes):
        if not 0 <= episode.world < len(worlds):
            raise DataError(f"episode {number} is in world {episode.world}; there are {len(worlds)}, from 0")
        world = worlds[episode.world]
        obstacles = inflated(world.boxes, RADIUS_M - 1e-6)
        for what, pose in (("start", episode.start), ("goal", episode.goal)):
            p = pose.position
            if not np.isfinite([*p, pose.yaw_rad]).all():
                raise DataError(f"episode {number}: its {what} {pose} is not finite; write metres and radians")
            if not ((p > 0.0) & (p < world.size_m)).all() or inside(p, obstacles):
                raise DataError(
                    f"episode {number}: a body of {RADIUS_M} m does not fit at its {what} {p.round(2)}; "
                    "move it away from walls and landmarks"
                )
        if episode.world not in grids:
            grids[episode.world] = DistanceGrid(world, RADIUS_M)
        key = (episode.world, episode.goal.x_m, episode.goal.z_m)
        if key not in rows:
            rows[key] = len(fields)
            fields.append(grids[episode.world].field(episode.goal.position))
        row = rows[key]
        distance = float(interpolate(fields[row][None], episode.start.position[None])[0])
        if np.isinf(distance):
            raise DataError(f"episode {number}: no way leads from its start to its goal; drop it")
        if distance < SPACING_M:
            raise DataError(
                f"episode {number} starts {distance:.2f} m from its goal, which is length zero on the grid of "
                f"{SPACING_M} m; drop it"
            )
        field_of.append(row)
        distances.append(distance)
    return EpisodeSet(tuple(worlds), tuple(episodes), np.stack(fields), tuple(field_of), np.array(distances))


def _goal(world: MazeWorld, grid: DistanceGrid, landmark: int, draw: np.random.Generator) -> Pose:
    """A free place on the grid that sees the landmark's centre from nearby."""
    box = world.boxes[landmark]
    centre = 0.5 * (box[:2] + box[2:])
    for _ in range(_ATTEMPTS):
        angle, gap = draw.uniform(0.0, 2.0 * np.pi), draw.uniform(*GOAL_GAP_M)
        node = np.round((centre + gap * np.array([np.cos(angle), np.sin(angle)])) / SPACING_M).astype(np.int64)
        if not ((node >= 0) & (node < len(grid.free))).all() or not grid.free[tuple(node)]:
            continue
        place = node * SPACING_M
        ahead = centre - place
        hit = cast(place[None], (ahead / np.linalg.norm(ahead))[None, None], world.boxes[None])
        if int(hit.box[0, 0]) == landmark:
            return Pose(float(place[0]), float(place[1]), float(np.arctan2(-ahead[0], -ahead[1])))
    raise DataError(f"no place sees landmark {landmark} of the maze from nearby; use larger cells")


def _start(world: MazeWorld, field: F64, low: float, high: float, draw: np.random.Generator, index: int) -> Pose:
    obstacles = inflated(world.boxes, RADIUS_M)
    for _ in range(_ATTEMPTS):
        place = draw.uniform(0.0, world.size_m, 2)
        if not inside(place, obstacles) and low <= interpolate(field[None], place[None])[0] <= high:
            return Pose(float(place[0]), float(place[1]), float(draw.uniform(-np.pi, np.pi)))
    raise DataError(f"world {index} has no start between {low} and {high} m from a goal; widen that range")
