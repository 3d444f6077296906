"""`sinew datagen metaworld`: episodes of Meta-World tasks in graded quality, as HDF5 in robomimic's layout."""

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sinew_policies.common.episodes import EpisodeSet
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.report import Report, Row, metric_fields, rate
from sinew_sim.metaworld.collection import collect, data_file
from sinew_sim.metaworld.mixture import MIXTURES, mixture
from sinew_sim.metaworld.tasks import canonical, task_names

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DATA_FOLDER = Path("data/metaworld")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tasks", required=True, help="comma-separated, with or without -v3, or 'all' (50): door-close,window-open"
    )
    parser.add_argument("--mixture", default="graded", help="; ".join(MIXTURES))
    parser.add_argument("--episodes", type=int, default=120, help="per task")
    parser.add_argument("--steps", type=int, default=150, help="per episode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DATA_FOLDER, help="folder of one file per task")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    if args.json:
        Report.check_writable(args.json)
    mix = mixture(args.mixture)
    tasks = (
        task_names() if args.tasks == "all" else tuple(dict.fromkeys(canonical(t) for t in args.tasks.split(",")))
    )
    if args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}; expected 1 or more")
    console, rows, begun = Console(markup=False), list[Row](), time.monotonic()
    episodes = successes = 0
    try:
        with Progress(console=console) as bar:
            for task in tasks:
                line = bar.add_task(task, total=args.episodes)
                found = collect(
                    task,
                    episodes=args.episodes,
                    steps=args.steps,
                    seed=args.seed,
                    mixture=mix,
                    folder=args.out,
                    processes=args.workers,
                    progress=partial(_show, bar, line),
                )
                rows += _rows(found)
                episodes, successes = episodes + len(found), successes + int((found.success_steps > 0).sum())
                file = data_file(args.out, task, args.episodes, args.steps, args.seed, mix)
                console.print(f"{task}: {found.success_rate:.0%} succeed → {file}", highlight=False)
    except KeyboardInterrupt:
        console.print(f"interrupted; the same command goes on with what is in {args.out}")
        return 130
    if args.json:
        metrics = {"data_success": rate(successes, episodes)}
        Report("datagen metaworld", args.seed, time.monotonic() - begun, metrics, rows).write(args.json)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sinew datagen metaworld", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


def _show(bar: "Progress", line: "TaskID", done: int, wanted: int) -> None:
    bar.update(line, completed=done, total=wanted)


def _rows(found: EpisodeSet) -> list[Row]:
    """Success by kind of episode."""
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for episode in found.episodes:
        by_kind[episode.source].append(episode.succeeded)
    return [
        {"task": found.task, "kind": kind, "success": metric_fields(rate(sum(done), len(done)))}
        for kind, done in sorted(by_kind.items())
    ]


if __name__ == "__main__":
    raise SystemExit(main())
