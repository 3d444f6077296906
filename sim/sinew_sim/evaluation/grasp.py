"""`sinew eval grasp`: rounds over processes, then rates with intervals for the policy and its baselines."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.report import Cell, Metric, Report, metric_fields, percentile, rate
from sinew_sim.evaluation.clutter import RoundResult, RoundSpec, run_round
from sinew_sim.evaluation.policies import BASELINES, NETWORK, GraspPolicy, make_policy
from sinew_sim.scenes.spec import SceneKind
from sinew_sim.worker_pool import worker_pool

MODES = ("floating", "arm")
_ARM_MODULE = "sinew_sim.evaluation.arm"


@dataclass(frozen=True)
class GraspEvalConfig:
    """`rounds` per seed; `policy` None with baselines only evaluates those."""

    scenes: SceneKind = "packed"
    mode: str = "floating"
    rounds: int = 40
    seeds: tuple[int, ...] = (0,)
    objects_dir: Path | None = None
    weights: Path | None = None
    policies: tuple[str, ...] = (NETWORK,)
    workers: int = 2
    noise: str = "stereo"
    split: str = "test"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"unknown mode '{self.mode}'; {name_hint(self.mode, MODES)}")
        if self.scenes not in get_args(SceneKind):
            raise ConfigError(f"unknown scenes '{self.scenes}'; {name_hint(self.scenes, get_args(SceneKind))}")
        if self.rounds < 1 or self.workers < 1:
            raise ConfigError(f"rounds is {self.rounds}, workers {self.workers}; expected at least 1 each")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds are {list(self.seeds)}; expected at least one, all different")
        if min(self.seeds) < 0:
            raise ConfigError(f"seeds are {list(self.seeds)}; expected 0 or more")
        for name in self.policies:
            if name not in (NETWORK, *BASELINES):
                raise ConfigError(f"unknown grasp policy '{name}'; {name_hint(name, (NETWORK, *BASELINES))}")


Progress = Callable[[int, int], None]
"""Called with (rounds done, rounds in all)."""


def evaluate(config: GraspEvalConfig, progress: Progress | None = None) -> list[RoundResult]:
    """All rounds of all policies, sorted by policy, seed and index; the same for any number of workers."""
    if config.mode == "arm":
        return _evaluate_arm(config, progress)
    _prepare_objects(config)
    jobs = [(config, name, spec) for spec in _specs(config) for name in config.policies]
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("MUJOCO_GL", "egl")
    results: list[RoundResult] = []
    with worker_pool(config.workers) as pool:
        for done in as_completed([pool.submit(_play, job) for job in jobs]):
            results.append(done.result())
            if progress:
                progress(len(results), len(jobs))
    order = {name: k for k, name in enumerate(config.policies)}
    return sorted(results, key=lambda r: (order[r.policy], r.spec.seed, r.spec.index))


def metrics(results: list[RoundResult]) -> dict[str, Metric]:
    """Rates over all rounds given, and latency per stage."""
    attempts = [a for r in results for a in r.attempts]
    n = len(attempts)
    out = {
        "gsr": rate(sum(a.success for a in attempts), n),
        "dr": rate(sum(r.cleared for r in results), sum(r.presented for r in results)),
        "no_grasp": rate(sum(a.outcome == "no_grasp" for a in attempts), n),
        "planner_failures": rate(sum(a.outcome == "no_plan" for a in attempts), n),
        "collisions": rate(sum(a.collided for a in attempts), n),
        "lost_while_lifted": rate(sum(a.outcome == "lost" for a in attempts), n),
        "knocked_out": rate(sum(r.strays for r in results), sum(r.presented for r in results)),
    }
    stages: dict[str, list[float]] = {}
    for a in attempts:
        for name, ms in a.stage_ms:
            stages.setdefault(name, []).append(ms)
    for name, values in stages.items():
        out[f"latency_{name}_p50_ms"] = percentile(values, 50.0)
        out[f"latency_{name}_p95_ms"] = percentile(values, 95.0)
    return out


def build_report(config: GraspEvalConfig, results: list[RoundResult], seconds: float) -> Report:
    """Metrics of the first policy; one row per policy, and one per object family of the first."""
    rows: list[dict[str, Cell | dict[str, Cell]]] = []
    for name in config.policies:
        mine = [r for r in results if r.policy == name]
        row: dict[str, Cell | dict[str, Cell]] = {"policy": name, "scenes": config.scenes, "mode": config.mode}
        row["rounds"] = len(mine)
        rows.append({**row, **{k: metric_fields(m) for k, m in metrics(mine).items()}})
    first = [r for r in results if r.policy == config.policies[0]]
    rows += list(_family_rows(first))
    return Report(
        command=command_line(config),
        seed=config.seeds[0],
        seconds=seconds,
        metrics=metrics(first),
        rows=rows,
    )


def command_line(config: GraspEvalConfig) -> str:
    parts = [
        f"sinew eval grasp --scenes {config.scenes} --mode {config.mode} --rounds {config.rounds}",
        f"--seeds {','.join(map(str, config.seeds))}",
    ]
    if config.objects_dir:
        parts.append(f"--objects {config.objects_dir}")
    if config.weights:
        parts.append(f"--weights {config.weights}")
    if len(config.policies) > 1:
        parts.append("--baselines")
    return " ".join(parts)


def timed(config: GraspEvalConfig, progress: Progress | None = None) -> tuple[list[RoundResult], Report]:
    start = time.monotonic()
    results = evaluate(config, progress)
    return results, build_report(config, results, time.monotonic() - start)


def _family_rows(results: list[RoundResult]) -> Iterator[dict[str, Cell | dict[str, Cell]]]:
    families = sorted({a.family for r in results for a in r.attempts if a.family})
    for family in families:
        mine = [a for r in results for a in r.attempts if a.family == family]
        yield {
            "policy": results[0].policy,
            "family": family,
            "gsr": metric_fields(rate(sum(a.success for a in mine), len(mine))),
        }


def _specs(config: GraspEvalConfig) -> Iterator[RoundSpec]:
    for seed in config.seeds:
        for index in range(config.rounds):
            yield RoundSpec(
                config.scenes,
                seed,
                index,
                objects_dir=config.objects_dir,
                noise=config.noise,
                split=config.split,
            )


def _play(job: tuple[GraspEvalConfig, str, RoundSpec]) -> RoundResult:
    config, name, spec = job
    return run_round(spec, _policy(name, config.weights))


@lru_cache(maxsize=8)
def _policy(name: str, weights: Path | None) -> GraspPolicy:
    return make_policy(name, weights)


def _prepare_objects(config: GraspEvalConfig) -> None:
    """Convexifies a mesh folder once, into its cache, before the workers all try to."""
    if config.objects_dir is not None:
        from sinew_sim.scenes.spec import SceneSpec, object_pool

        object_pool(SceneSpec(config.scenes, 0, objects_dir=config.objects_dir))


def _evaluate_arm(config: GraspEvalConfig, progress: Progress | None) -> list[RoundResult]:
    """The same rounds through ROS and the whole arm, by a module that may be absent."""
    if find_spec(_ARM_MODULE) is None:
        raise ConfigError(
            "mode 'arm' runs the real launch file and needs the ROS workspace; build it with scripts/setup, "
            "or use --mode floating"
        )
    try:
        module = import_module(_ARM_MODULE)
    except ImportError as fault:
        raise ConfigError(
            f"mode 'arm' needs the ROS workspace ({fault}); build it with scripts/setup, or use --mode floating"
        ) from fault
    found: list[RoundResult] = module.evaluate(config, progress)
    return found


def success_by_round(results: list[RoundResult]) -> np.ndarray:
    """Cleared share per round (R,)."""
    return np.array([r.cleared / max(1, r.presented) for r in results])
