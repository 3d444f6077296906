"""`sinew train reward`: learns a reward from preferences over recorded segments.

Same files, settings and seed give the same weights, also across an interruption and resume. Words such as
`lr=1e-4` or `backbone=transformer` change settings of RewardTrainingConfig.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from sinew_policies.common import config as configuration
from sinew_policies.common import episode_hdf5
from sinew_policies.common.episodes import cut
from sinew_policies.common.report import Metric, Report
from sinew_policies.pearl import preferences
from sinew_policies.pearl.confidence import confident
from sinew_policies.pearl.labels import PairLabels
from sinew_policies.pearl.preferences import Preferences
from sinew_policies.pearl.reward_training import RewardTraining, RewardTrainingConfig, TrainedReward
from sinew_policies.pearl.training_loop import drive, run_arguments, settings_of

WEIGHTS_FOLDER = "weights"


def main(argv: list[str]) -> int:
    """Exit status 0 when finished, 130 when interrupted (resume with the same command)."""
    parser = argparse.ArgumentParser(prog="sinew train reward", description=__doc__)
    parser.add_argument("--episodes", type=Path, required=True, help="HDF5 file of the episodes that were labelled")
    parser.add_argument("--preferences", type=Path, required=True, help="CSV file of labelled pairs")
    parser.add_argument(
        "--least-confidence", type=float, default=0.0, help="of transferred labels to learn from, 0 (all) to 1"
    )
    a = run_arguments(parser, argv, example="steps=1000")
    started = time.monotonic()
    config = configuration.load(RewardTrainingConfig, a.config, a.settings)
    episodes = episode_hdf5.read(a.episodes)
    labels = preferences.read(a.preferences, episodes)
    segments = cut(episodes, labels.segments)
    used = _learnt_from(labels, a.least_confidence, str(a.preferences))
    training = RewardTraining(segments, used.pairs, used.z, config, a.seed)
    console = Console(markup=False, stderr=True)
    data: list[NDArray] = [segments.observations, segments.actions, used.pairs, used.z]
    if not drive(training, a.out, settings_of(config, a.seed, data), config.steps, console):
        console.print("interrupted; the same command goes on")
        return 130
    trained = training.result()
    command = f"sinew train reward --episodes {a.episodes} --preferences {a.preferences} --seed {a.seed}"
    card = _card(trained, config, episodes.task, " ".join([command, *a.settings]), sorted(set(labels.sources)))
    trained.model.save(a.out / WEIGHTS_FOLDER, card)
    accuracy, scores = trained.scores.pair_accuracy, trained.scores
    if labels.transferred.any():
        print(f"learnt from {len(used)} of {len(labels)} labels; the others were transferred with less confidence")
    print(f"reward in {a.out / WEIGHTS_FOLDER}, {trained.steps} steps")
    print(
        f"held-out pair accuracy {accuracy.value:.3f} ({accuracy.low:.3f} to {accuracy.high:.3f}, n {accuracy.n})"
    )
    print(
        f"calibration error {scores.calibration_error:.3f}, before temperature {scores.calibration_error_raw:.3f}"
    )
    if a.json:
        Report("train reward", a.seed, time.monotonic() - started, _metrics(trained)).write(a.json)
    return 0


def _learnt_from(labels: Preferences, least_confidence: float, where: str) -> PairLabels:
    """Labels given for this task as they are, transferred ones where they are confident."""
    every = PairLabels(labels.pairs, labels.z)
    if not labels.transferred.any():
        return every
    sure = confident(every.subset(labels.transferred), least_confidence, where)
    pairs, z = labels.pairs[~labels.transferred], labels.z[~labels.transferred]
    return PairLabels(np.concatenate([pairs, sure.pairs]), np.concatenate([z, sure.z]))


def _metrics(trained: TrainedReward) -> dict[str, Metric]:
    scores, n = trained.scores, trained.scores.pair_accuracy.n

    def single(value: float, unit: str) -> Metric:  # no interval is known
        return Metric(value, float("nan"), float("nan"), n, unit)

    return {
        "pair_accuracy": scores.pair_accuracy,
        "cross_entropy": single(scores.cross_entropy, "nats"),
        "calibration_error": single(scores.calibration_error, "fraction"),
        "calibration_error_raw": single(scores.calibration_error_raw, "fraction"),
    }


def _card(trained: TrainedReward, config: RewardTrainingConfig, task: str, command: str, sources: list[str]) -> str:
    scores = trained.scores
    return "\n".join(
        [
            f"# Reward of '{task}'",
            "",
            f"- command: `{command}`",
            f"- labels from: {', '.join(sources)}",
            f"- {config.backbone}, {trained.steps} steps kept of at most {config.steps}",
            f"- pairs of episodes that did not train it: accuracy {scores.pair_accuracy.value:.3f} "
            f"(n {scores.pair_accuracy.n}), cross-entropy {scores.cross_entropy:.3f}, "
            f"calibration error {scores.calibration_error:.3f}",
        ]
    )
