"""`sinew eval pearl` as a library: collects what is missing, runs a stage over all pairs and seeds, sums up."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sinew_policies.common.episodes import EpisodeSet
from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.report import Metric, Report, Row, rate
from sinew_sim.evaluation import pearl_scores
from sinew_sim.evaluation.pearl_data import WHOLE, Collection, Labelled, TaskPair, labelled
from sinew_sim.evaluation.pearl_labels import METHOD, LabelResult, judge_labels
from sinew_sim.evaluation.pearl_reward import (
    CLONING,
    ORACLE,
    MethodConfig,
    PolicyResult,
    RewardResult,
    Trial,
    judge_policies,
    judge_rewards,
)
from sinew_sim.metaworld.mixture import mixture

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
    episodes: int = 120
    steps: int = 150
    source_mixture: str = "graded"
    target_mixture: str = "graded"
    rollouts: int = 20  # per policy
    controls: bool = True
    folder: Path = Path("data/metaworld")
    workers: int = 2
    method: MethodConfig = field(default_factory=MethodConfig)

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ConfigError(f"there is no stage '{self.stage}'; {name_hint(self.stage, STAGES)}")
        for name in ("repeats", "episodes", "steps", "rollouts", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if not self.pairs or not self.lengths or not self.target_labels:
            raise ConfigError("expected at least one pair, one length and one number of target labels")
        if any(n < 0 or n > self.steps for n in self.lengths) or min(self.target_labels) < 0 or self.seed < 0:
            raise ConfigError(
                f"lengths {self.lengths}, target labels {self.target_labels}, seed {self.seed}: expected lengths "
                f"of 0 (whole) to {self.steps} steps and nothing below 0"
            )
        mixture(self.source_mixture)
        mixture(self.target_mixture)

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.repeats)

    @property
    def collection(self) -> Collection:
        return Collection(self.episodes, self.steps, self.folder)


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


Result = LabelResult | RewardResult | PolicyResult


def run(config: PearlEvalConfig, progress: Progress = lambda what, done, of: None) -> Report:
    """Raises ConfigError and DataError for what cannot be judged."""
    begun = time.monotonic()
    _collect(config, progress)
    jobs = [
        Job(config, pair, seed, length, few)
        for few, seed, length, pair in product(config.target_labels, config.seeds, config.lengths, config.pairs)
    ]
    results: list[tuple[Job, Result]] = []
    rows: list[Row] = []
    for job, (result, new) in zip(jobs, _results(jobs, config.workers), strict=True):
        results.append((job, result))
        rows += new
        progress(config.stage, len(results), len(jobs))
    counted = [result for job, result in results if job.counts]
    metrics = {
        "labels": _label_metrics,
        "reward": _reward_metrics,
        "policy": _policy_metrics,
    }[config.stage](counted, config.seed)
    return Report(f"eval pearl --stage {config.stage}", config.seed, time.monotonic() - begun, metrics, rows)


def _collect(config: PearlEvalConfig, progress: Progress) -> None:
    wanted = [(pair.source, config.source_mixture) for pair in config.pairs]
    wanted += [(pair.target, config.target_mixture) for pair in config.pairs]
    for seed, (task, mix) in product(config.seeds, dict.fromkeys(wanted)):
        config.collection.get(
            task,
            mixture(mix),
            seed,
            config.workers,
            partial(progress, f"{task} ({mix}, seed {seed})"),
        )


def _results(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Result, tuple[Row, ...]]]:
    """In the order of the jobs. Labels take a second each and stay here; training goes to child processes."""
    if workers == 1 or len(jobs) == 1 or jobs[0].config.stage == "labels":
        yield from map(_judge, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        try:
            yield from pool.map(_judge, jobs)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _judge(job: Job) -> tuple[Result, tuple[Row, ...]]:
    c = job.config
    source = _labelled(c.collection, job.pair.source, c.source_mixture, job.seed, job.length)
    target = _labelled(c.collection, job.pair.target, c.target_mixture, job.seed, job.length)
    if c.stage == "labels":
        found, controls = judge_labels(
            job.pair, source, target, job.length, job.target_labels, c.method.align, job.seed, controls=c.controls
        )
        return found, (found.row, *controls)
    episodes = _episodes(c.collection, job.pair.target, c.target_mixture, job.seed)
    trial = Trial(job.pair, source, target, episodes, job.target_labels, job.seed)
    if c.stage == "reward":
        rewards = judge_rewards(trial, c.method, None if c.controls else (METHOD, ORACLE))
        return RewardResult(rewards.rows, rewards.accuracy, {}), rewards.rows  # models stay in their process
    policies = judge_policies(trial, c.method, rollouts=c.rollouts, steps=c.steps)
    return policies, policies.rows


@cache
def _episodes(collection: Collection, task: str, mix: str, seed: int) -> EpisodeSet:
    return collection.get(task, mixture(mix), seed)


@cache
def _labelled(collection: Collection, task: str, mix: str, seed: int, length: int) -> Labelled:
    return labelled(_episodes(collection, task, mix, seed), length, seed)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _label_metrics(results: Sequence[Result], seed: int) -> dict[str, Metric]:
    found = [r for r in results if isinstance(r, LabelResult)]
    refused = sum(np.isnan(r.accuracy.value) for r in found)
    values = [r.accuracy.value for r in found if np.isfinite(r.accuracy.value)]
    metrics = {
        "label_accuracy": pearl_scores.mean([r.accuracy for r in found], seed),
        "abstained": pearl_scores.mean([r.abstained for r in found], seed),
        "refused": rate(int(refused), len(found)),
        "lowest_label_accuracy": Metric(min(values, default=float("nan")), *(float("nan"),) * 2, len(values)),
    }
    if sum(r.planted for r in found):
        metrics["plants_accepted"] = rate(sum(r.planted_accepted for r in found), sum(r.planted for r in found))
    return metrics


def _reward_metrics(results: Sequence[Result], seed: int) -> dict[str, Metric]:
    found = [r for r in results if isinstance(r, RewardResult)]
    own = pearl_scores.mean([r.accuracy[METHOD] for r in found if METHOD in r.accuracy], seed)
    both = [r for r in found if METHOD in r.accuracy]
    return {
        "pair_accuracy": own,
        "pair_accuracy_of_oracle": pearl_scores.mean(
            [pearl_scores.ratio(r.accuracy[METHOD], r.accuracy[ORACLE]) for r in both], seed
        ),
        "refused": rate(len(found) - len(both), len(found)),
    }


def _policy_metrics(results: Sequence[Result], seed: int) -> dict[str, Metric]:
    found = [r for r in results if isinstance(r, PolicyResult)]

    def over_all(name: str) -> Metric:
        played = [r.successes[name] for r in found if name in r.successes]
        return rate(sum(round(m.value * m.n) for m in played), sum(m.n for m in played))

    refused = sum(METHOD not in r.successes for r in found)
    return {"policy_success": over_all(METHOD), "refused": rate(refused, len(found))}


def summary(report: Report) -> list[tuple[str, Metric]]:
    """Success of every kind of policy over all pairs and seeds, as the table shows it."""
    totals: dict[str, list[Metric]] = {}
    for row in report.rows:
        found = row.get("policy_success")
        if isinstance(found, dict):
            totals.setdefault(str(row["method"]), []).append(
                Metric(found["value"], found["low"], found["high"], found["n"])
            )
    order = [METHOD, ORACLE, "zero", "random", "flipped", CLONING]
    return [
        (name, rate(sum(round(m.value * m.n) for m in totals[name]), sum(m.n for m in totals[name])))
        for name in order
        if name in totals
    ]
