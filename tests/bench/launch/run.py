"""`sinew launch pick` as a whole: stop signals, start-up, and rates with both cameras on."""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from bench.launch import running, signals
from rich.console import Console
from rich.table import Table

from sinew_nodes.demo.launching import choose_domain
from sinew_policies.common.report import Metric, Report, Row, machine, percentile, rate
from sinew_policies.common.seeds import stream

PARTS = ("signals", "startup", "rates")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench/launch", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the scenes and of the moments of the signals")
    parser.add_argument("--signals", type=int, default=20, help="launches that are stopped by a signal")
    parser.add_argument("--starts", type=int, default=3, help="launches whose start-up is timed")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of either phase of the rates")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    parts = tuple(args.parts.split(","))
    unknown = sorted(set(parts) - set(PARTS))
    if unknown or args.signals < 1 or args.starts < 1 or args.seconds < 5:
        parser.error(f"parts {unknown} unknown (valid: {', '.join(PARTS)}), a count below 1, or under 5 seconds")
    choose_domain()
    rclpy.init(args=[])
    console, start = Console(width=120), time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="sinew-bench-launch-"))
    console.print(f"logs of the launches: {folder}")
    metrics: dict[str, Metric] = {}
    rows: list[Row] = []
    if "signals" in parts:
        _signals(args.signals, args.seed, folder, console, metrics, rows)
    if "startup" in parts:
        _starts(args.starts, args.seed, folder, metrics, rows)
    if "rates" in parts:
        metrics |= running.rates(args.seed, args.seconds, folder / "rates.log")
    rclpy.try_shutdown()
    table = Table(title=f"sinew launch pick, {machine()}", title_justify="left")
    for column in ("figure", "value", "unit", "95 %", "n"):
        table.add_column(column, justify="left" if column in ("figure", "unit") else "right", no_wrap=True)
    for name, m in metrics.items():
        known = np.isfinite(m.low) and np.isfinite(m.high)
        table.add_row(name, f"{m.value:.3f}", m.unit, f"{m.low:.3f}..{m.high:.3f}" if known else "", str(m.n))
    console.print(table)
    if args.json is not None:
        command = f"tests/bench/launch --seed {args.seed} --signals {args.signals} --starts {args.starts}"
        seconds = time.perf_counter() - start
        Report(f"{command} --seconds {args.seconds:g}", args.seed, seconds, metrics, rows).write(args.json)


def _signals(
    n: int, seed: int, folder: Path, console: Console, metrics: dict[str, Metric], rows: list[Row]
) -> None:
    trials = []
    for trial in signals.run(n, stream(seed, "signals"), folder):
        trials.append(trial)
        console.print(
            f"{trial.kind:14s} after {trial.delay_s:4.1f} s: exit {trial.code}, {trial.seconds:.2f} s, "
            f"{trial.orphans} orphans, {trial.tracebacks} tracebacks",
            highlight=False,
        )
        rows.append({"part": "signals", **vars(trial)})
    clean = Counter(t.kind for t in trials if t.clean)
    for kind, count in Counter(t.kind for t in trials).items():
        metrics[f"clean_end_{kind.lower().replace(' ', '_')}"] = rate(clean[kind], count)
    metrics["clean_end"] = rate(clean.total(), n)
    slowest = max(t.seconds for t in trials)
    metrics["end_median"] = percentile([t.seconds for t in trials], 50, "s")
    metrics["end_slowest"] = Metric(slowest, np.nan, np.nan, n, "s")


def _starts(n: int, seed: int, folder: Path, metrics: dict[str, Metric], rows: list[Row]) -> None:
    starts = [running.start_up(seed + k, folder / f"start-{k}.log") for k in range(n)]
    rows += [{"part": "startup", "seed": seed + k, **vars(s)} for k, s in enumerate(starts)]
    metrics["all_active"] = percentile([s.active_s for s in starts], 50, "s")
    metrics["first_approach"] = percentile([s.approach_s for s in starts], 50, "s")
    metrics["first_close"] = percentile([s.close_s for s in starts], 50, "s")
