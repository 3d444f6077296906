"""`sinew eval pearl` as a library: collects what is missing, runs a stage over all pairs and seeds, sums up."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np

from sinew_policies.common.episodes import EpisodeSet
from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.report import Metric, Report, rate
from sinew_sim.evaluation import pearl_scores
from sinew_sim.evaluation.pearl_data import WHOLE, Collection, Labelled, TaskPair, labelled
from sinew_sim.evaluation.pearl_labels import METHOD, judge_labels
from sinew_sim.evaluation.pearl_results import Kept, StageResult
from sinew_sim.evaluation.pearl_reward import (
    ORACLE,
    REWARDS,
    MethodConfig,
    Trial,
    judge_policies,
    judge_rewards,
)
from sinew_sim.metaworld.mixture import mixture
from sinew_sim.worker_pool import worker_pool

STAGES = ("labels", "reward", "policy")
Progress = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True)
class PearlEvalConfig:
    stage: str
    pairs: tuple[TaskPair, ...]
    seed: int = 0
    repeats: int = 1  # seeds seed, seed + 1, …, of data, labels and training alike
    lengths: tuple[int, ...] = (WHOLE, 50)  # steps per segment
    target_labels: tuple[int, ...] = (0,)  # labels of the target that are given away; metrics are of the first
    source_episodes: int = 120
    target_episodes: int = 120
    steps: int = 150
    source_mixture: str = "graded"
    target_mixture: str = "graded"
    least_confidence: float = 0.0  # of transferred labels that rewards learn from
    rollouts: int = 20  # per policy
    controls: bool = True
    folder: Path = Path("data/metaworld")
    workers: int = 2
    method: MethodConfig = field(default_factory=MethodConfig)

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ConfigError(f"there is no stage '{self.stage}'; {name_hint(self.stage, STAGES)}")
        for name in ("repeats", "source_episodes", "target_episodes", "steps", "rollouts", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not self.pairs or not self.lengths or not self.target_labels:
            raise ConfigError("expected at least one pair, one length and one number of target labels")
        if any(n < 0 or n > self.steps for n in self.lengths) or min(self.target_labels) < 0 or self.seed < 0:
            raise ConfigError(
                f"lengths {self.lengths}, target labels {self.target_labels}, seed {self.seed}: expected lengths "
                f"of 0 (whole) to {self.steps} steps and nothing below 0"
            )
        if not 0.0 <= self.least_confidence <= 1.0:
            raise ConfigError(f"least_confidence is {self.least_confidence}; expected 0 to 1")
        mixture(self.source_mixture)
        mixture(self.target_mixture)

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.repeats)

    @property
    def sources(self) -> Collection:
        return Collection(self.source_episodes, self.steps, self.folder, self.source_mixture)

    @property
    def targets(self) -> Collection:
        return Collection(self.target_episodes, self.steps, self.folder, self.target_mixture)


@dataclass(frozen=True)
class Job:
    config: PearlEvalConfig
    pair: TaskPair
    seed: int
    length: int
    target_labels: int

    @property
    def counts(self) -> bool:
        """Whether its result enters the metrics."""
        return self.target_labels == self.config.target_labels[0]


def run(
    config: PearlEvalConfig,
    progress: Progress = lambda what, done, of: None,
    parts: Path | None = None,
) -> Report:
    """Jobs that are done are kept in the folder `parts` until all are, so that an interrupted run goes on.

    Raises ConfigError and DataError for what cannot be judged.
    """
    begun = time.monotonic()
    _collect(config, progress)
    jobs = [
        Job(config, pair, seed, length, few)
        for few, seed, length, pair in product(config.target_labels, config.seeds, config.lengths, config.pairs)
    ]
    kept = Kept(parts)
    results = {job: found for job in jobs if (found := kept.load(job)) is not None}
    left = [job for job in jobs if job not in results]
    progress(config.stage, len(results), len(jobs))
    for job, result in zip(left, _results(left, config), strict=True):
        results[job] = result
        kept.save(job, result)
        progress(config.stage, len(results), len(jobs))
    counted = [results[job] for job in jobs if job.counts]
    sums = {"labels": _label_metrics, "reward": _reward_metrics, "policy": _policy_metrics}
    rows = [row for job in jobs for row in results[job].rows]
    seconds = time.monotonic() - begun
    if parts is not None:
        shutil.rmtree(parts, ignore_errors=True)
    return Report(
        f"eval pearl --stage {config.stage}", config.seed, seconds, sums[config.stage](counted, config.seed), rows
    )


def _collect(config: PearlEvalConfig, progress: Progress) -> None:
    wanted = [(config.sources, pair.source) for pair in config.pairs]
    wanted += [(config.targets, pair.target) for pair in config.pairs]
    for seed, (collection, task) in product(config.seeds, dict.fromkeys(wanted)):
        what = partial(progress, f"{task} ({collection.mixture}, seed {seed})")
        collection.get(task, seed, config.workers, what)


def _results(jobs: Sequence[Job], config: PearlEvalConfig) -> Iterator[StageResult]:
    """In the order of the jobs. Labels take a second each and stay here; training goes to child processes."""
    if config.workers == 1 or len(jobs) <= 1 or config.stage == "labels":
        yield from map(_judge, jobs)
        return
    with worker_pool(config.workers) as pool:
        yield from pool.map(_judge_in_worker, jobs)


def _judge_in_worker(job: Job) -> StageResult:
    import torch

    torch.set_num_threads(1)
    return _judge(job)


def _judge(job: Job) -> StageResult:
    c = job.config
    source = _labelled(c.sources, job.pair.source, job.seed, job.length)
    target = _labelled(c.targets, job.pair.target, job.seed, job.length)
    if c.stage == "labels":
        return judge_labels(
            job.pair, source, target, job.length, job.target_labels, c.method.align, job.seed, controls=c.controls
        )
    episodes = _episodes(c.targets, job.pair.target, job.seed)
    trial = Trial(job.pair, source, target, episodes, job.target_labels, c.least_confidence, job.seed)
    if c.stage == "reward":
        return judge_rewards(trial, c.method, REWARDS if c.controls else (METHOD, ORACLE))
    return judge_policies(trial, c.method, rollouts=c.rollouts, steps=c.steps, controls=c.controls)


@cache
def _episodes(collection: Collection, task: str, seed: int) -> EpisodeSet:
    return collection.get(task, seed)


@cache
def _labelled(collection: Collection, task: str, seed: int, length: int) -> Labelled:
    return labelled(_episodes(collection, task, seed), length, seed)


def _label_metrics(results: Sequence[StageResult], seed: int) -> dict[str, Metric]:
    accuracy = [r.estimates["label_accuracy"] for r in results]
    values = [e.value for e in accuracy if np.isfinite(e.value)]
    metrics = {
        "label_accuracy": pearl_scores.mean(accuracy, seed),
        "abstained": pearl_scores.mean([r.estimates["abstained"] for r in results], seed),
        "lowest_label_accuracy": Metric(
            min(values, default=math.nan), math.nan, math.nan, len(values), "fraction"
        ),  # an extreme has no interval
        "refused": _over_all(results, "refused"),
    }
    if _over_all(results, "plants_accepted").n:
        metrics["plants_accepted"] = _over_all(results, "plants_accepted")
    return metrics


def _reward_metrics(results: Sequence[StageResult], seed: int) -> dict[str, Metric]:
    both = [r.estimates for r in results if METHOD in r.estimates]
    return {
        "pair_accuracy": pearl_scores.mean([e[METHOD] for e in both], seed),
        "oracle_pair_accuracy": pearl_scores.mean([e[ORACLE] for e in both], seed),
        "pair_accuracy_ratio": pearl_scores.mean([pearl_scores.ratio(e[METHOD], e[ORACLE]) for e in both], seed),
        "refused": _over_all(results, "refused"),
    }


def _policy_metrics(results: Sequence[StageResult], seed: int) -> dict[str, Metric]:
    return {"policy_success": _over_all(results, METHOD), "refused": _over_all(results, "refused")}


def _over_all(results: Sequence[StageResult], name: str) -> Metric:
    counts = [r.counts[name] for r in results if name in r.counts]
    return rate(sum(k for k, _ in counts), sum(n for _, n in counts))
