"""`sinew train policy`: learns a policy from recorded episodes and a reward, without trying anything out.

`--controls` trains, side by side with it, policies from no reward, from the same rewards in random order and from
their negative: a reward that leads no further than these has taught nothing. Same files, settings and seed give the
same weights, also across an interruption and resume. Words such as `beta=1` change settings of IQLConfig (with
`--method cloning`, of CloningConfig).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from sinew_policies.common import config as configuration
from sinew_policies.common import episode_hdf5
from sinew_policies.common.episodes import EpisodeSet
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.report import Metric, Report
from sinew_policies.common.types import F32
from sinew_policies.pearl.cloning import Cloning, CloningConfig
from sinew_policies.pearl.iql import IQL, IQLConfig
from sinew_policies.pearl.policy import Policy
from sinew_policies.pearl.reward import RewardModel
from sinew_policies.pearl.reward_scaling import CONTROLS, control_rewards
from sinew_policies.pearl.training_loop import drive, run_arguments, settings_of

RECORDED = "recorded"
WEIGHTS_FOLDER = "weights"
CONTROLS_FOLDER = "controls"


def main(argv: list[str]) -> int:
    """Exit status 0 when finished, 130 when interrupted (resume with the same command)."""
    parser = argparse.ArgumentParser(prog="sinew train policy", description=__doc__)
    parser.add_argument("--episodes", type=Path, required=True, help="HDF5 file of episodes")
    parser.add_argument("--reward", help=f"weights folder of a reward, or '{RECORDED}' for the file's own rewards")
    parser.add_argument("--method", choices=["iql", "cloning"], default="iql")
    parser.add_argument("--controls", action="store_true", help=f"also train {', '.join(CONTROLS)} rewards")
    a = run_arguments(parser, argv, example="steps=20000")
    started = time.monotonic()
    if a.method == "cloning" and (a.reward or a.controls):
        raise ConfigError("cloning uses no reward; leave out --reward and --controls, or take --method iql")
    if a.method == "iql" and not a.reward:
        raise ConfigError(f"IQL needs --reward: a weights folder of 'sinew train reward', or '{RECORDED}'")
    episodes = episode_hdf5.read(a.episodes)
    data = episodes.transitions()
    arrays = [data.observations, data.actions, data.next_observations]
    training: IQL | Cloning
    if a.method == "cloning":
        cloning = configuration.load(CloningConfig, a.config, a.settings)
        training, mark = Cloning(data, cloning, a.seed), settings_of(cloning, a.seed, arrays)
    else:
        rewards = [data.rewards if a.reward == RECORDED else _learned(Path(a.reward), episodes)]
        if a.controls:
            rewards += [control_rewards(name, rewards[0], a.seed) for name in CONTROLS]
        iql = configuration.load(IQLConfig, a.config, a.settings)
        training, mark = IQL(data, rewards, iql, a.seed), settings_of(iql, a.seed, [*arrays, *rewards])
    console = Console(markup=False, stderr=True)
    if not drive(training, a.out, mark, training.config.steps, console):
        console.print("interrupted; the same command goes on")
        return 130
    policies = [training.policy()] if isinstance(training, Cloning) else training.policies()
    folders = [a.out / WEIGHTS_FOLDER, *(a.out / CONTROLS_FOLDER / name for name in CONTROLS)]
    command = f"sinew train policy --episodes {a.episodes} --method {a.method} --reward {a.reward} --seed {a.seed}"
    lines = [
        f"- command: `{' '.join([command, *a.settings])}`",
        f"- {training.steps_done} steps of {training.config.batch} on {len(data.actions)} transitions of "
        f"{len(episodes)} episodes, {episodes.success_rate:.1%} of them successful",
    ]
    names = ["the reward" if a.method == "iql" else "no reward (cloning)", *(f"{c} reward" for c in CONTROLS)]
    for policy, folder, name in zip(policies, folders, names, strict=False):
        policy.save(folder, "\n".join([f"# Policy for '{episodes.task}' from {name}", "", *lines]))
        print(f"policy from {name} in {folder}")
    if a.json:
        metrics = {"imitation_error": _imitation_error(policies[0], data.observations, data.actions)}
        Report("train policy", a.seed, time.monotonic() - started, metrics).write(a.json)
    return 0


def _learned(folder: Path, episodes: EpisodeSet) -> F32:
    model = RewardModel.load(folder)
    sizes = (episodes.observation_dim, episodes.action_dim)
    expected = (model.config.observation_dim, model.config.action_dim)
    if sizes != expected:
        raise DataError(
            f"episodes of '{episodes.task}' have {sizes[0]} observation and {sizes[1]} action numbers, the "
            f"reward {folder} was trained on {expected[0]} and {expected[1]}; train a reward on these episodes"
        )
    return model.step_rewards(episodes)


def _imitation_error(policy: Policy, observations: F32, actions: F32) -> Metric:
    """Root mean square distance to the recorded actions: how far the policy left them, not how good it is."""
    squared = np.square(policy.act(observations) - actions).mean(1)
    mean, half = squared.mean(), 1.96 * squared.std() / np.sqrt(len(squared))
    low, high = np.sqrt(max(0.0, mean - half)), np.sqrt(mean + half)
    return Metric(float(np.sqrt(mean)), float(low), float(high), len(squared), "action")
