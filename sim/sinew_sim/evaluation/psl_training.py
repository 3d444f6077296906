"""Trains a small policy of PSL's shape in the maze and compares it with the baselines on unseen mazes."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sinew_policies.common import checkpoint
from sinew_policies.common import config as configuration
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.report import Metric, Report, Row, metric_fields
from sinew_policies.psl.actor_critic import SmallPolicy, SmallPolicyConfig
from sinew_policies.psl.metrics import FRACTION, Scores, mean_metric, score
from sinew_policies.psl.ppo import PPOConfig
from sinew_policies.psl.train import train
from sinew_policies.psl.trainer import WEIGHTS_FOLDER, TrainConfig
from sinew_sim.evaluation.psl_maze import MakeMazeTask, MazeTask, MazeTaskConfig, maze_episodes
from sinew_sim.evaluation.psl_players import BASELINES, Player, PolicyPlayer, play
from sinew_sim.maze.simulator import ACTIONS, CHANNELS

AGENT = "agent"
TEST_WORLDS_SEED = 1_000_003  # no training may use it
MEASURES = ("success", "stopped", "spl", "soft_spl", "distance_m")
COMPARED = ("random", "forward-biased")  # what the agent must beat


@dataclass(frozen=True)
class MazePPOConfig(PPOConfig):
    """What learns the maze in minutes; the rest as ZSON."""

    rollout_steps: int = 32
    epochs: int = 3
    minibatches: int = 4
    lr: float = 2e-3
    gamma: float = 0.97
    entropy_coefficient: float = 0.02
    gradient_clip: float = 0.5
    normalise_advantages: bool = True
    linear_decay: bool = True


@dataclass(frozen=True)
class MazeTrainingConfig:
    """What `--config` and words such as `ppo.lr=5e-4` set."""

    task: MazeTaskConfig = field(default_factory=MazeTaskConfig)
    ppo: MazePPOConfig = field(default_factory=MazePPOConfig)
    code: int = 48  # width of view and goal codes
    hidden: int = 96  # of the LSTM
    envs: int = 128  # per process
    test_worlds: int = 64
    test_episodes: int = 512
    test_start_m: float = 1.5  # nearest start of a test episode

    def __post_init__(self) -> None:
        for name in ("code", "hidden", "envs", "test_worlds", "test_episodes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.envs % self.ppo.minibatches:
            raise ConfigError(
                f"envs {self.envs} do not divide into ppo.minibatches {self.ppo.minibatches}; change one of the two"
            )
        if not self.test_start_m > self.task.reward.distance_m:
            raise ConfigError(
                f"test_start_m is {self.test_start_m}; expected more than the success radius "
                f"{self.task.reward.distance_m} m, or STOP alone would succeed"
            )

    def policy(self) -> SmallPolicyConfig:
        return SmallPolicyConfig(
            self.task.simulator.columns, CHANNELS, len(ACTIONS), code=self.code, hidden=self.hidden
        )


@dataclass(frozen=True)
class RunConfig:
    out: Path
    steps: int  # of the environment, per run
    seed: int = 0
    runs: int = 1  # with seeds seed, seed + 1, ...
    processes: int = 1
    sync_frac: float = 0.6

    def __post_init__(self) -> None:
        for name in ("steps", "runs", "processes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 <= self.seed <= TEST_WORLDS_SEED - self.runs:
            raise ConfigError(f"seed is {self.seed}; expected 0 to {TEST_WORLDS_SEED - self.runs}")

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.runs)

    def folder(self, seed: int) -> Path:
        return self.out / f"seed{seed}"


def train_runs(run: RunConfig, config: MazeTrainingConfig) -> bool:
    """Trains one policy per seed, each in its own folder; False when interrupted."""
    updates = -(-run.steps // (config.envs * config.ppo.rollout_steps * run.processes))
    for seed in run.seeds:
        training = TrainConfig(
            out=run.folder(seed),
            updates=updates,
            seed=seed,
            processes=run.processes,
            sync_frac=run.sync_frac,
            ppo=config.ppo,
            success_distance_m=config.task.reward.distance_m,
            environment=f"envs: {config.envs}\n{configuration.to_yaml(config.task)}",
        )
        environment = MakeMazeTask(config.task, config.envs, seed, world_seed=seed)
        if not train(training, environment, partial(SmallPolicy, config.policy())):
            return False
    return True


def evaluate(run: RunConfig, config: MazeTrainingConfig) -> dict[int, dict[str, Scores]]:
    """Scores by seed and player, on the same episodes in mazes that no training saw."""
    task_config = replace(
        config.task, worlds=config.test_worlds, episodes=config.test_episodes, nearest_start_m=config.test_start_m
    )
    episodes = maze_episodes(task_config, TEST_WORLDS_SEED)
    n_envs = next(n for n in range(min(64, config.test_episodes), 0, -1) if config.test_episodes % n == 0)
    found: dict[int, dict[str, Scores]] = {}
    for seed in run.seeds:
        task = MazeTask(episodes, n_envs, task_config, once=True)
        policy = SmallPolicy(config.policy())
        folder = run.folder(seed) / WEIGHTS_FOLDER
        checkpoint.load_into(policy, checkpoint.load_state(folder), folder)
        players: dict[str, Player] = {AGENT: PolicyPlayer(policy, n_envs, seed)}
        players |= {name: make(task, seed) for name, make in BASELINES.items()}
        found[seed] = {
            name: score(play(task, player, config.test_episodes), task_config.reward.distance_m)
            for name, player in players.items()
        }
    return found


def report(run: RunConfig, scores: dict[int, dict[str, Scores]], started: float) -> Report:
    """Metrics of the agent; with several runs their intervals are Student's over seeds, else over episodes."""
    seeds = list(scores)
    metrics: dict[str, Metric] = {
        name: over_seeds([getattr(scores[s][AGENT], name) for s in seeds]) for name in MEASURES
    }
    for baseline in COMPARED:
        gains = [scores[s][AGENT].success.value - scores[s][baseline].success.value for s in seeds]
        metrics[f"success_gain_over_{baseline.replace('-', '_')}"] = mean_metric(gains, "fraction")
    rows: list[Row] = [
        {"seed": seed, "player": player, **{k: metric_fields(m) for k, m in _metrics(found).items()}}
        for seed in seeds
        for player, found in scores[seed].items()
    ]
    return Report("train psl", run.seed, time.monotonic() - started, metrics, rows)


def over_seeds(values: Sequence[Metric]) -> Metric:
    if len(values) == 1:
        return values[0]
    bounds = FRACTION if values[0].unit == "fraction" else (0.0, math.inf)
    return mean_metric([m.value for m in values], values[0].unit, bounds)


def summary(scores: dict[int, dict[str, Scores]]) -> dict[str, dict[str, Metric]]:
    """By player, each metric over the seeds."""
    first = next(iter(scores.values()))
    return {
        player: {name: over_seeds([_metrics(scores[s][player])[name] for s in scores]) for name in MEASURES}
        for player in first
    }


def _metrics(scores: Scores) -> dict[str, Metric]:
    return {name: getattr(scores, name) for name in MEASURES}
