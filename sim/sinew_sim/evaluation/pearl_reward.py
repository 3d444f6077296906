"""Stages `reward` and `policy`: what transferred labels are worth, beside oracle labels and empty controls.

Every reward is trained alike and differs in its labels only:
- cpa: transferred labels, where the method does not abstain and is confident; cpa-all: without the latter
- oracle: the scripted labels themselves
- random: labels of a random order
- flipped: the transferred labels inverted
Policies are trained side by side on the same transitions: from the rewards of cpa, cpa-all and oracle labels, of
the given target labels alone (what the transfer must beat), from the cpa reward flipped and permuted (random), from
none (zero), and by plain cloning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sinew_policies.common.episodes import EpisodeSet
from sinew_policies.common.errors import DataError
from sinew_policies.common.report import Cell, Row, metric_fields, rate
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32, F64
from sinew_policies.pearl.align import AlignConfig, Alignment, align
from sinew_policies.pearl.cloning import CloningConfig, train_cloning
from sinew_policies.pearl.confidence import confident
from sinew_policies.pearl.iql import IQLConfig, train_policies
from sinew_policies.pearl.labels import PairLabels, from_matrix
from sinew_policies.pearl.policy import Policy
from sinew_policies.pearl.reward_scaling import CONTROLS, control_rewards
from sinew_policies.pearl.reward_training import RewardTrainingConfig, TrainedReward, train_reward
from sinew_sim.evaluation.pearl_data import Labelled, TaskPair
from sinew_sim.evaluation.pearl_labels import METHOD, few_labels
from sinew_sim.evaluation.pearl_results import StageResult
from sinew_sim.evaluation.pearl_scores import Estimate, label_accuracy
from sinew_sim.metaworld.rollout import successes

ORACLE = "oracle"
ALL_LABELS = "cpa-all"
TARGET_LABELS = "target-labels"
CLONING = "cloning"
REWARDS = (METHOD, ORACLE, "random", "flipped")


@dataclass(frozen=True)
class MethodConfig:
    align: AlignConfig = field(default_factory=AlignConfig)
    reward: RewardTrainingConfig = field(default_factory=RewardTrainingConfig)
    iql: IQLConfig = field(default_factory=IQLConfig)
    cloning: CloningConfig = field(default_factory=CloningConfig)


@dataclass(frozen=True)
class Trial:
    """One pair of tasks under one seed."""

    pair: TaskPair
    source: Labelled
    target: Labelled
    episodes: EpisodeSet  # of the target; its segments come from these
    target_labels: int
    least_confidence: float  # of transferred labels
    seed: int

    @property
    def about(self) -> dict[str, Cell]:
        return {
            "pair": str(self.pair),
            "seed": self.seed,
            "length": self.target.segments.observations.shape[1],
            "target_labels": self.target_labels,
            "data_success": self.episodes.success_rate,
        }


def judge_rewards(trial: Trial, config: MethodConfig, names: Sequence[str] = REWARDS) -> StageResult:
    """Trains a reward from the labels `names`; judges all on the same held-out episodes. Estimates are by name,
    without METHOD where the source was refused.
    """
    return _rewards(trial, config, names)[0]


def judge_policies(
    trial: Trial, config: MethodConfig, *, rollouts: int, steps: int, controls: bool = True
) -> StageResult:
    """Trains the policies and plays each on the same `rollouts` layouts. Counts of successes are by name; without
    `controls` only those of the transferred and the oracle's labels.
    """
    rewards, models = _rewards(trial, config, (METHOD, ORACLE, ALL_LABELS) if controls else (METHOD, ORACLE))
    data = trial.episodes.transitions()
    learned = {name: m.model.step_rewards(trial.episodes) for name, m in models.items()}
    if controls:
        learned |= _control_rewards(trial, config.reward, learned, models[ORACLE].steps)
    policies = dict(zip(learned, train_policies(data, list(learned.values()), config.iql, trial.seed), strict=True))
    if controls:
        policies[CLONING] = train_cloning(data, config.cloning, trial.seed)
    found = {name: _played(trial, policy, rollouts, steps) for name, policy in policies.items()}
    rows = [
        {**trial.about, "method": name, "policy_success": metric_fields(rate(done, rollouts))}
        for name, done in found.items()
    ]
    counts = {name: (done, rollouts) for name, done in found.items()}
    return StageResult((*rewards.rows, *rows), counts={**counts, **rewards.counts})


def _control_rewards(
    trial: Trial, config: RewardTrainingConfig, learned: Mapping[str, F32], oracle_steps: int
) -> dict[str, F32]:
    """Step rewards of every control."""
    # A refused source leaves no reward of its own; the controls are then those of the oracle's.
    basis = learned.get(METHOD, learned[ORACLE])
    made = {name: control_rewards(name, basis, trial.seed) for name in CONTROLS}
    few = few_labels(trial.target, trial.target_labels, trial.pair, trial.seed)
    return made if few is None else {**made, TARGET_LABELS: _without_transfer(trial, few, config, oracle_steps)}


def _rewards(
    trial: Trial, config: MethodConfig, names: Sequence[str]
) -> tuple[StageResult, dict[str, TrainedReward]]:
    few = few_labels(trial.target, trial.target_labels, trial.pair, trial.seed)
    found = align(
        trial.source.segments,
        trial.source.pairs,
        trial.target.segments,
        config.align,
        target_anchor=few,
        seed=trial.seed,
    )
    transferred = _transferred(trial, found, trial.least_confidence)
    rows: list[Row] = []
    accuracy: dict[str, Estimate] = {}
    models: dict[str, TrainedReward] = {}
    if isinstance(transferred, str):
        rows.append({**trial.about, "method": METHOD, "pair_accuracy": None, "refused": transferred})
    for name, labels in _labels(trial, transferred, _transferred(trial, found, 0.0)).items():
        if name not in names:
            continue
        trained = train_reward(trial.target.segments, labels.pairs, labels.z, config.reward, trial.seed)
        models[name] = trained
        accuracy[name] = _heldout(trial, trained)
        rows.append(
            {
                **trial.about,
                "method": name,
                "labels": len(labels),
                "pair_accuracy": metric_fields(accuracy[name].metric),
                "agreement_with_own_labels": metric_fields(trained.scores.pair_accuracy),
                "calibration_error": _finite(trained.scores.calibration_error),
                "steps": trained.steps,
            }
        )
    counts = {"refused": (int(isinstance(transferred, str)), 1)}
    return StageResult(tuple(rows), accuracy, counts), models


def _transferred(trial: Trial, found: Alignment, least_confidence: float) -> PairLabels | str:
    """What the reward learns from, or why there is nothing."""
    if found.refused is not None:
        return found.refused
    every = from_matrix(found.z)
    i, j = every.pairs.T
    try:
        return confident(every.subset(~found.abstained[i, j]), least_confidence, f"labels of '{trial.pair}'")
    except DataError as fault:
        return str(fault)


def _labels(trial: Trial, transferred: PairLabels | str, every: PairLabels | str) -> dict[str, PairLabels]:
    order = stream(trial.seed, "random labels", str(trial.pair)).permutation(len(trial.target.z))
    others = {
        ORACLE: from_matrix(trial.target.z),
        "random": from_matrix(0.5 + 0.5 * np.sign(order[:, None] - order[None, :]).astype(np.float64)),
    }
    if isinstance(transferred, str):
        return others
    if not isinstance(every, str) and len(every) > len(transferred):
        others[ALL_LABELS] = every
    return {METHOD: transferred, **others, "flipped": PairLabels(transferred.pairs, 1.0 - transferred.z)}


def _without_transfer(trial: Trial, few: PairLabels, config: RewardTrainingConfig, steps: int) -> F32:
    """Step rewards learnt from the target labels alone: from all of them, for they are too few to hold any out, and
    for as many steps as the oracle's took.
    """
    whole = replace(config, stop_share=0.0, test_share=0.0, steps=max(1, steps))
    trained = train_reward(trial.target.segments, few.pairs, few.z, whole, trial.seed)
    return trained.model.step_rewards(trial.episodes)


def _heldout(trial: Trial, trained: TrainedReward) -> Estimate:
    """Against the scripted labels, between episodes that neither trained nor stopped the reward."""
    score = trained.model.score(trial.target.segments.observations, trial.target.segments.actions)
    test = trained.split.test
    says: F64 = 0.5 + 0.5 * np.sign(score[:, None] - score[None, :])
    episode = trial.target.segments.episode_index
    return label_accuracy(str(trial.pair), says, trial.target.z, test[:, None] & test[None, :], episode, trial.seed)


def _played(trial: Trial, policy: Policy, rollouts: int, steps: int) -> int:
    done = successes(trial.pair.target, policy.act, episodes=rollouts, steps=steps, seed=trial.seed)
    return int(done.sum())


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
