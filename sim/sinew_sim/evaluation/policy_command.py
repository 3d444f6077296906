"""`sinew eval policy`: plays trained policies in a Meta-World task, on layouts that no collection has seen.

Several policies, such as one and its controls, play the same layouts. Success is the task's own flag at any step.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.report import Metric, Report, Row, metric_fields, rate
from sinew_policies.pearl.policy import Policy
from sinew_sim.metaworld.rollout import successes
from sinew_sim.metaworld.tasks import canonical


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sinew eval policy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--policy", type=Path, nargs="+", required=True, help="folders written by sinew train policy"
    )
    parser.add_argument("--task", required=True, help="Meta-World task, such as drawer-open")
    parser.add_argument("--rollouts", type=int, default=20, help="layouts (default 20)")
    parser.add_argument("--steps", type=int, default=150, help="at most, each (default 150)")
    parser.add_argument("--seed", type=int, default=0, help="of the layouts")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    a = parser.parse_args(argv)
    if min(a.rollouts, a.steps) < 1 or a.seed < 0:
        raise ConfigError(
            f"--rollouts {a.rollouts}, --steps {a.steps}, --seed {a.seed}: expected 1, 1 and 0 or more"
        )
    if a.json is not None:
        Report.check_writable(a.json)
    task = canonical(a.task)
    policies = {str(folder): Policy.load(folder) for folder in a.policy}
    begun, console = time.monotonic(), Console(markup=False, highlight=False)
    found: dict[str, Metric] = {}
    for folder, policy in policies.items():
        done = successes(task, policy.act, episodes=a.rollouts, steps=a.steps, seed=a.seed)
        success = found[folder] = rate(int(done.sum()), a.rollouts)
        console.print(f"{folder}: {success.value:.0%} ({success.low:.0%} to {success.high:.0%}) of {a.rollouts}")
    if a.json is not None:
        rows: list[Row] = [
            {"policy": p, "task": task, "policy_success": metric_fields(m)} for p, m in found.items()
        ]
        metrics = {"policy_success": found[str(a.policy[0])]}
        Report("eval policy", a.seed, time.monotonic() - begun, metrics, rows).write(a.json)
    return 0
