"""PSL's image-goal task in the embedded maze: reward, episodes and baselines around the simulator."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.psl.environment import Arrays, Transition
from sinew_policies.psl.metrics import Outcome
from sinew_policies.psl.reward import GoalRelation, RewardConfig, relaxed_reward, yaw_error_rad
from sinew_sim.maze.episodes import EpisodeSet, make_episodes, make_worlds
from sinew_sim.maze.simulator import ACTIONS, STOP, MazeSimulator, SimulatorConfig
from sinew_sim.maze.world import MazeConfig


@dataclass(frozen=True)
class MazeRewardConfig(RewardConfig):
    """Success pays less than in ZSON, so that in a short training its rarity does not drown the shaping."""

    success: float = 2.0


@dataclass(frozen=True)
class MazeTaskConfig:
    maze: MazeConfig = field(default_factory=MazeConfig)
    simulator: SimulatorConfig = field(default_factory=SimulatorConfig)
    reward: MazeRewardConfig = field(default_factory=MazeRewardConfig)
    worlds: int = 128
    episodes: int = 4096  # over all worlds
    max_steps: int = 60
    nearest_start_m: float = 1.05  # geodesic; outside the success radius, or to STOP at once would pay

    def __post_init__(self) -> None:
        for name in ("worlds", "episodes", "max_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")


def maze_episodes(config: MazeTaskConfig, seed: int) -> EpisodeSet:
    return make_episodes(
        make_worlds(config.maze, config.worlds, seed),
        config.episodes,
        seed,
        distance_m=(config.nearest_start_m, np.inf),
    )


class MazeTask:
    """A vectorised environment: observes `view` and `goal`, both (N, columns, 4) in 0..1.

    Each environment draws its next episode from the stream (seed, rank, environment, count), or plays its share of
    the set once in order where `once` is set.
    """

    def __init__(
        self,
        episodes: EpisodeSet,
        n_envs: int,
        config: MazeTaskConfig,
        seed: int = 0,
        rank: int = 0,
        *,
        once: bool = False,
    ) -> None:
        self.simulator = MazeSimulator(episodes, n_envs, config.simulator)
        self.config, self.once = config, once
        self._seed, self._rank = seed, rank
        self._played = np.zeros(n_envs, np.int64)
        self._steps = np.zeros(n_envs, np.int64)
        self._reward = np.zeros(n_envs)
        self._relation = self._relate()

    @property
    def n_envs(self) -> int:
        return self.simulator.n_envs

    @property
    def n_actions(self) -> int:
        return len(ACTIONS)

    def reset(self) -> Arrays:
        self._played[:] = 0
        self._begin(np.arange(self.n_envs))
        self._relation = self._relate()
        return self._observe()

    def step(self, actions: NDArray[np.int64]) -> Transition:
        simulator, before = self.simulator, self._relation
        simulator.act(actions)
        self._steps += 1
        after, stopped = self._relate(), actions == STOP
        rewards = relaxed_reward(before, after, stopped, self.config.reward)
        self._reward += rewards
        dones = stopped | (self._steps >= self.config.max_steps)
        ended = np.flatnonzero(dones)
        outcomes = tuple(
            Outcome(
                stopped=bool(stopped[i]),
                start_distance_m=float(simulator.start_distance_m()[i]),
                distance_m=float(after.distance_m[i]),
                path_m=float(simulator.path_m[i]),
                steps=int(self._steps[i]),
                reward=float(self._reward[i]),
            )
            for i in ended
        )
        self._begin(ended)
        self._relation = self._relate() if len(ended) else after
        return Transition(self._observe(), rewards, dones, outcomes)

    def state(self) -> Arrays:
        simulator = self.simulator
        return {
            "episode": simulator.episode,
            "pose": simulator.pose,
            "path_m": simulator.path_m,
            "played": self._played,
            "steps": self._steps,
            "reward": self._reward,
        }

    def restore(self, state: Arrays) -> None:
        simulator = self.simulator
        simulator.episode[:], simulator.pose[:] = state["episode"], state["pose"]
        simulator.path_m[:] = state["path_m"]
        self._played[:], self._steps[:], self._reward[:] = state["played"], state["steps"], state["reward"]
        self._relation = self._relate()

    def _begin(self, envs: NDArray[np.int64]) -> None:
        self.simulator.place(envs, np.array([self._next_episode(int(i)) for i in envs], np.int64))
        self._played[envs] += 1
        self._steps[envs] = 0
        self._reward[envs] = 0.0

    def _next_episode(self, env: int) -> int:
        n, count = len(self.simulator.episodes.episodes), int(self._played[env])
        if self.once:
            return (env + count * self.n_envs) % n
        return int(stream(self._seed, "episode", self._rank, env, count).integers(n))

    def _relate(self) -> GoalRelation:
        simulator = self.simulator
        error = yaw_error_rad(_rotation(simulator.pose[:, 2]), _rotation(simulator.goal_yaw_rad()))
        return GoalRelation(simulator.distance_m(), error)

    def _observe(self) -> Arrays:
        return {"view": self.simulator.views(), "goal": self.simulator.goal_views()}


@dataclass(frozen=True)
class MakeMazeTask:
    """Builds a worker's environment; importable, so that several processes can."""

    config: MazeTaskConfig
    n_envs: int
    seed: int
    world_seed: int

    def __call__(self, rank: int) -> MazeTask:
        return MazeTask(maze_episodes(self.config, self.world_seed), self.n_envs, self.config, self.seed, rank)


def _rotation(yaw_rad: F64) -> F64:
    """Quaternions xyzw (N, 4) of turns about y."""
    zero = np.zeros_like(yaw_rad)
    return np.stack([zero, np.sin(0.5 * yaw_rad), zero, np.cos(0.5 * yaw_rad)], -1)
