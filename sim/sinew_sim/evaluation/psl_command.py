"""`sinew train psl`: trains a navigation policy with PPO or DD-PPO in the embedded maze and evaluates it.

The policy sees a row of pixels, gets the goal as such a row seen from the goal, and must walk there and STOP.
Afterwards it is compared with chance, a forward-biased walker and the shortest path in mazes it never saw.
The same command continues an interrupted training; with --processes 1 or --sync-frac 1 it repeats bit by bit.
"""

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sinew_policies.common import config as configuration
from sinew_policies.common.errors import MissingExtra
from sinew_policies.common.report import Metric, Report
from sinew_sim.evaluation.psl_training import (
    MazeTrainingConfig,
    RunConfig,
    evaluate,
    report,
    summary,
    train_runs,
)


def main(argv: list[str]) -> int:
    """Exit status 0 when finished, 130 when interrupted (resume with the same command)."""
    parser = argparse.ArgumentParser(
        prog="sinew train psl", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; resumes what it holds")
    parser.add_argument("--steps", type=int, default=400_000, help="environment steps per run (default 4e5)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--runs", type=int, default=1, help="how many, with consecutive seeds")
    parser.add_argument("--processes", type=int, default=1, help="DD-PPO workers (default 1: plain PPO)")
    parser.add_argument("--sync-frac", type=float, default=0.6, help="of workers after which others end a rollout")
    parser.add_argument("--config", type=Path, help="YAML over the defaults")
    parser.add_argument("--chart", type=Path, help="also draw the learning curves to this PNG file")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("settings", nargs="*", help="such as ppo.lr=5e-4 task.maze.cells=4")
    a = parser.parse_args(argv)
    started = time.monotonic()
    run = RunConfig(a.out, a.steps, a.seed, a.runs, a.processes, a.sync_frac)
    config = configuration.load(MazeTrainingConfig, a.config, a.settings)
    if a.chart is not None and find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "dev")  # now rather than after the training
    for file in (a.json, a.chart):
        if file is not None:
            Report.check_writable(file)
    if not train_runs(run, config):
        Console(markup=False, stderr=True).print(f"interrupted; the same command goes on with what is in {a.out}")
        return 130
    scores = evaluate(run, config)
    players = summary(scores)
    _print(run, config, players)
    if a.chart is not None:
        from sinew_sim.evaluation.psl_chart import draw

        draw(a.chart, [run.folder(s) for s in run.seeds], players)
    if a.json is not None:
        report(run, scores, started).write(a.json)
    return 0


def _print(run: RunConfig, config: MazeTrainingConfig, players: dict[str, dict[str, Metric]]) -> None:
    played = f"{config.test_episodes} episodes in {config.test_worlds} unseen mazes"
    table = Table(
        title=f"{played}, {run.runs} run(s), 95 % intervals", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False
    )
    for column in ("player", "success", "SPL", "stopped", "SoftSPL", "m"):
        table.add_column(column, no_wrap=True)
    for player, metrics in players.items():
        rates = [
            f"{100 * m.value:.0f} % ({100 * m.low:.0f}–{100 * m.high:.0f})"
            for m in (metrics["success"], metrics["spl"])
        ]
        means = [f"{m.value:.2f}" for m in (metrics["stopped"], metrics["soft_spl"], metrics["distance_m"])]
        table.add_row(player, *rates, *means)
    Console().print(table)


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
