"""The same rounds with the whole arm, through the real launch file, in a child process that speaks ROS."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

from sinew_policies.common.errors import ConfigError, DeviceError
from sinew_policies.common.ros_environment import with_overlay, workspace_built
from sinew_sim.evaluation.clutter import Attempt, RoundResult, RoundSpec
from sinew_sim.evaluation.grasp import GraspEvalConfig
from sinew_sim.evaluation.policies import NETWORK

_CHILD = "sinew_nodes.demo.rounds"


def evaluate(config: GraspEvalConfig, progress: Callable[[int, int], None] | None = None) -> list[RoundResult]:
    """Rounds of the network; the baselines have no node. Raises ConfigError, DeviceError."""
    if config.policies != (NETWORK,):
        raise ConfigError(f"mode 'arm' evaluates {NETWORK} only; run the baselines with --mode floating")
    if not workspace_built():
        raise ConfigError("mode 'arm' needs the ROS workspace; build it with scripts/setup")
    words = ["--scenes", config.scenes, "--rounds", str(config.rounds), "--seeds", *map(str, config.seeds)]
    if config.weights is not None:
        words += ["--weights", str(config.weights.resolve())]
    if config.objects_dir is not None:
        words += ["--objects", str(config.objects_dir.resolve())]
    total = config.rounds * len(config.seeds)
    results: list[RoundResult] = []
    with subprocess.Popen(
        [sys.executable, "-m", _CHILD, *words],
        env=with_overlay(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            for line in child.stdout:
                results.append(parse_round(line, config))
                if progress:
                    progress(len(results), total)
            fault = child.stderr.read()
        except BaseException:
            child.terminate()
            raise
    if child.returncode or len(results) < total:
        raise DeviceError(f"only {len(results)} of {total} rounds were played: {fault.strip()[-2000:]}")
    return results


def parse_round(line: str, config: GraspEvalConfig) -> RoundResult:
    """One line of the child; raises DeviceError for a line that is no round."""
    try:
        found = json.loads(line)
        spec = RoundSpec(config.scenes, int(found["seed"]), int(found["index"]), config.objects_dir)
        told = [(str(o), str(r)) for o, r in zip(found["outcomes"], found["reasons"], strict=True)]
        attempts = _believed(told, int(found["in_bin"]))
        return RoundResult(
            spec, NETWORK, int(found["presented"]), int(found["in_bin"]), int(found["elsewhere"]), attempts
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            f"the evaluation's child process said {line[:200]!r}, expected a round: {error}"
        ) from error


def _believed(told: list[tuple[str, str]], in_bin: int) -> tuple[Attempt, ...]:
    """The attempts as the task told them, but no more successes than the simulator finds in the bin."""
    surplus = sum(outcome == "success" for outcome, _ in told) - in_bin
    believed: list[Attempt] = []
    for outcome, reason in reversed(told):
        if outcome == "success" and surplus > 0:
            outcome, reason, surplus = "lost", "told as a success, but not found in the bin", surplus - 1
        believed.append(Attempt("", "", outcome == "success", outcome, False, 0.0, (), reason))
    return tuple(reversed(believed))
