"""Many mazes stepped together: PSL's discrete actions, a row of pixels as camera, no sliding along walls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F32, F64
from sinew_sim.maze.boxes import cast, inflated
from sinew_sim.maze.episodes import RADIUS_M, EpisodeSet
from sinew_sim.maze.geodesic import interpolate

STOP, FORWARD, LEFT, RIGHT = range(4)
ACTIONS = ("stop", "forward", "left", "right")
CHANNELS = 4  # of a pixel: red, green, blue and the height of the wall in the picture

_CONTACT_M = 1e-3  # kept between body and wall
_FOG_M = 4.0  # light falls to 1/e over this distance
_NEAR_M = 0.5  # a wall this near fills the picture's height


@dataclass(frozen=True)
class SimulatorConfig:
    forward_m: float = 0.25
    turn_rad: float = np.pi / 6
    columns: int = 24  # pixels of a view
    fov_rad: float = float(np.deg2rad(79.0))

    def __post_init__(self) -> None:
        if self.columns < 2:
            raise ConfigError(f"columns is {self.columns}; expected at least 2 pixels")
        if not (self.forward_m > 0.0 and self.turn_rad > 0.0 and 0.0 < self.fov_rad < np.pi):
            raise ConfigError(
                f"forward_m {self.forward_m}, turn_rad {self.turn_rad} and fov_rad {self.fov_rad} must be above 0, "
                "and the last below pi"
            )


class MazeSimulator:
    """N agents, each in an episode of its own.

    A view is (columns, 4), leftmost first: RGB and the height of the wall in the picture, all 0..1.
    """

    def __init__(self, episodes: EpisodeSet, n_envs: int, config: SimulatorConfig | None = None) -> None:
        if n_envs < 1:
            raise ConfigError(f"{n_envs} environments were asked for; expected at least 1")
        self.config = c = config or SimulatorConfig()
        self.episodes, self.n_envs = episodes, n_envs
        self._columns_rad = np.linspace(0.5 * c.fov_rad, -0.5 * c.fov_rad, c.columns)  # left is positive
        self._boxes, self._colours = _padded(episodes)
        self._obstacles = inflated(self._boxes, RADIUS_M)  # what the body's centre must not enter
        self._worlds = np.array([e.world for e in episodes.episodes])  # (episodes,)
        self._fields = np.asarray(episodes.field_of)  # (episodes,)
        self._starts = np.array([e.start.array for e in episodes.episodes])  # (episodes, 3)
        self._goals = np.array([e.goal.array for e in episodes.episodes])
        self._goal_views = self.render(self._goals, self._worlds)  # (episodes, columns, 4)
        self.episode = np.zeros(n_envs, np.int64)
        self.pose = np.zeros((n_envs, 3))  # x m, z m, yaw rad
        self.path_m = np.zeros(n_envs)
        self.place(np.arange(n_envs), np.zeros(n_envs, np.int64))

    def place(self, envs: NDArray[np.int64], episodes: NDArray[np.int64]) -> None:
        """Starts the given episodes (M,) in the environments (M,)."""
        self.episode[envs] = episodes
        self.path_m[envs] = 0.0
        self.pose[envs] = self._starts[episodes]

    def act(self, actions: NDArray[np.int64]) -> None:
        """Moves by `actions` (N,): a blocked step forward ends at contact; STOP stays.

        Raises DataError for another shape or an unknown action.
        """
        if actions.shape != (self.n_envs,) or actions.dtype.kind not in "iu":
            raise DataError(f"actions are {actions.dtype} {actions.shape}; expected integers ({self.n_envs},)")
        if bool(((actions < 0) | (actions >= len(ACTIONS))).any()):
            raise DataError(
                f"action {int(actions[(actions < 0) | (actions >= len(ACTIONS))][0])} does not exist; expected "
                + ", ".join(f"{i} {name}" for i, name in enumerate(ACTIONS))
            )
        turn = self.config.turn_rad * ((actions == LEFT).astype(np.float64) - (actions == RIGHT))
        moved = np.where((actions == FORWARD)[:, None], self.ahead(), self.pose)
        self.path_m += np.linalg.norm(moved[:, :2] - self.pose[:, :2], axis=1)
        self.pose = moved
        self.pose[:, 2] = _wrapped(self.pose[:, 2] + turn)

    def ahead(self, turn_rad: float = 0.0) -> F64:
        """(N, 3) where each agent would stand after a turn to the left and one step forward."""
        yaw = self.pose[:, 2] + turn_rad
        direction = _direction(yaw)
        hits = cast(self.pose[:, :2], direction[:, None], self._obstacles[self._world()])
        free_m = np.clip(hits.distance - _CONTACT_M, 0.0, self.config.forward_m)  # (N, 1)
        return np.column_stack([self.pose[:, :2] + free_m * direction, yaw])

    def views(self) -> F32:
        """(N, columns, 4) what each agent sees."""
        return self.render(self.pose, self._world())

    def goal_views(self) -> F32:
        """(N, columns, 4) what each agent shall find."""
        return self._goal_views[self.episode]

    def distance_m(self) -> F64:
        """(N,) geodesic distance to the goal."""
        return interpolate(self.fields(), self.pose[:, :2])

    def fields(self) -> F64:
        """(N, n, n) distances to each agent's goal on its maze's grid."""
        return self.episodes.fields[self._fields[self.episode]]

    def start_distance_m(self) -> F64:
        return self.episodes.start_distance_m[self.episode]

    def goal_yaw_rad(self) -> F64:
        return self._goals[self.episode, 2]

    def render(self, pose: F64, world: NDArray[np.int64]) -> F32:
        """Views (M, columns, 4) from poses (M, 3) in worlds (M,)."""
        rays = _direction(pose[:, 2:] + self._columns_rad)  # (M, columns, 2)
        hits = cast(pose[:, :2], rays, self._boxes[world])
        depth = hits.distance * np.cos(self._columns_rad)
        light = np.exp(-hits.distance / _FOG_M) * np.where(hits.along_x, 1.0, 0.8)
        colour = np.take_along_axis(self._colours[world], hits.box[..., None], 1)  # (M, columns, 3)
        height = np.minimum(1.0, _NEAR_M / np.maximum(depth, 1e-6))
        return np.concatenate([colour * light[..., None], height[..., None]], -1).astype(np.float32)

    def _world(self) -> NDArray[np.int64]:
        return self._worlds[self.episode]


def _direction(yaw_rad: F64) -> F64:
    return np.stack([-np.sin(yaw_rad), -np.cos(yaw_rad)], -1)


def _wrapped(angle_rad: F64) -> F64:
    return (angle_rad + np.pi) % (2.0 * np.pi) - np.pi


def _padded(episodes: EpisodeSet) -> tuple[F64, F64]:
    """Boxes (worlds, B, 4) and colours (worlds, B, 3); padding lies out of sight."""
    most = max(len(w.boxes) for w in episodes.worlds)
    boxes = np.full((len(episodes.worlds), most, 4), -1e6)
    colours = np.zeros((len(episodes.worlds), most, 3))
    for i, world in enumerate(episodes.worlds):
        boxes[i, : len(world.boxes)] = world.boxes
        colours[i, : len(world.boxes)] = world.colours
    return boxes, colours
