"""`sinew eval pearl`: how good transferred labels, rewards and policies are on pairs of Meta-World tasks.

Stage `labels` compares transferred with scripted labels; `reward` trains rewards on both and compares them on
held-out trajectories; `policy` trains policies from recorded episodes and plays them. Controls stand beside every
figure. Words such as align.subset=32 or iql.steps=10000 change settings of the method.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sinew_policies.common import config as configuration
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.report import Metric, Report
from sinew_sim.evaluation.pearl import STAGES, PearlEvalConfig, run
from sinew_sim.evaluation.pearl_data import WHOLE, parse_pairs
from sinew_sim.evaluation.pearl_reward import MethodConfig
from sinew_sim.evaluation.pearl_totals import LabelTotal, label_totals, policy_totals
from sinew_sim.metaworld.mixture import MIXTURES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

DEFAULT_PAIRS = (
    "button-press:window-open,button-press:door-close,button-press:drawer-open,button-press:sweep-into,"
    "faucet-close:window-open,faucet-close:door-close,faucet-close:drawer-open,faucet-close:sweep-into"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", choices=STAGES, default="labels")
    parser.add_argument("--pairs", default=DEFAULT_PAIRS, help="SOURCE:TARGET,… of any Meta-World tasks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1, help="seeds: SEED, SEED + 1, …")
    parser.add_argument(
        "--lengths", default=None, help="steps per segment, 0 = whole episodes; default 0,50 (labels) or 0"
    )
    parser.add_argument(
        "--target-labels",
        default=None,
        help="target labels that are given away, such as 0,10,25,50; default 0; stage policy: 50",
    )
    parser.add_argument(
        "--least-confidence",
        type=float,
        default=None,
        help="of transferred labels that rewards learn from; default 0 (all); stage policy: 0.5",
    )
    parser.add_argument("--source-episodes", type=int, default=120, help="per task")
    parser.add_argument(
        "--target-episodes", type=int, default=None, help="per task; default 120, stage policy: 200"
    )
    parser.add_argument("--steps", type=int, default=150, help="per episode")
    parser.add_argument("--source-mixture", choices=sorted(MIXTURES), default="graded")
    parser.add_argument(
        "--target-mixture", choices=sorted(MIXTURES), default=None, help="default graded; stage policy: scarce"
    )
    parser.add_argument("--rollouts", type=int, default=20, help="trials of each policy")
    parser.add_argument("--no-controls", action="store_true", help="leave out controls and planted mirrors")
    parser.add_argument("--data", type=Path, default=Path("data/metaworld"), help="folder of the episodes")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--config", type=Path, default=None, help="YAML file of settings of the method")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    parser.add_argument("settings", nargs="*", help="name=value, such as align.draws=96")


def evaluation(args: argparse.Namespace) -> PearlEvalConfig:
    """What the words ask for. Raises ConfigError for words that make no sense."""
    lengths = args.lengths or ("0,50" if args.stage == "labels" else "0")
    return PearlEvalConfig(
        stage=args.stage,
        pairs=parse_pairs(args.pairs),
        seed=args.seed,
        repeats=args.repeats,
        lengths=_numbers("--lengths", lengths),
        target_labels=_numbers("--target-labels", args.target_labels or ("50" if args.stage == "policy" else "0")),
        source_episodes=args.source_episodes,
        target_episodes=(200 if args.stage == "policy" else 120)
        if args.target_episodes is None
        else args.target_episodes,
        steps=args.steps,
        source_mixture=args.source_mixture,
        target_mixture=args.target_mixture or ("scarce" if args.stage == "policy" else "graded"),
        least_confidence=(0.5 if args.stage == "policy" else 0.0)
        if args.least_confidence is None
        else args.least_confidence,
        rollouts=args.rollouts,
        controls=not args.no_controls,
        folder=args.data,
        workers=args.workers,
        method=configuration.load(MethodConfig, args.config, args.settings),
    )


def run_command(args: argparse.Namespace) -> int:
    import torch
    from rich.console import Console
    from rich.progress import Progress, TaskID

    if args.json:
        Report.check_writable(args.json)
    config = evaluation(args)
    torch.set_num_threads(1)  # one process per core is faster than one process on two
    console = Console(markup=False)
    try:
        with Progress(console=console) as bar:
            lines: dict[str, TaskID] = {}

            def show(what: str, done: int, of: int) -> None:
                if what not in lines:
                    lines[what] = bar.add_task(what)
                bar.update(lines[what], completed=done, total=of, visible=done < of or what == config.stage)

            parts = args.json.with_name(args.json.name + ".parts") if args.json else None
            report = run(config, show, parts)
    except KeyboardInterrupt:
        results = f", results beside {args.json}" if args.json else ""
        console.print(f"interrupted; episodes are kept in {config.folder}{results}; the same command goes on")
        return 130
    _print(console, report)
    if args.json:
        report.write(args.json)
        console.print(f"written: {args.json}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sinew eval pearl", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    return run_command(parser.parse_args(argv))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise ConfigError(f"{option} is '{text}'; expected whole numbers such as {WHOLE},50") from None


def _print(console: "Console", report: Report) -> None:
    key = {"labels": "label_accuracy", "reward": "pair_accuracy", "policy": "policy_success"}
    figure = key[report.command.rsplit(" ", 1)[1]]
    rows = [row for row in report.rows if figure in row]
    names = {"seed": "seed", "length": "steps", "target_labels": "given"}
    shown = ["pair", *(n for n in names if len({str(row[n]) for row in rows}) > 1), "method"]
    verdict = ["verdict"] if figure == "label_accuracy" else []
    table = _table(*(names.get(n, n) for n in shown), figure.replace("_", " "), *verdict)
    for row in rows:
        table.add_row(*(str(row[n]) for n in shown), _share(row[figure]), *(str(row[n]) for n in verdict))
    console.print(table)
    if totals := label_totals(report.rows):
        _print_parts(console, totals)
    for name, total in policy_totals(report.rows):
        console.print(f"{name}: {_text(total)}", highlight=False)
    for name, metric in report.metrics.items():
        console.print(f"{name}: {_text(metric)}", style="bold", highlight=False)


def _print_parts(console: "Console", totals: Sequence[LabelTotal]) -> None:
    table = _table("method", "steps", "given", "labelled pairs", "lowest", "abstained", "all pairs", "n")
    for t in totals:
        shares = ("-" if v != v else f"{v:.1%}" for v in (t.labelled, t.lowest, t.abstained, t.every))
        table.add_row(t.method, str(t.steps), str(t.target_labels), *shares, str(t.n))
    console.print("\nAccuracy by part of the method, means over pairs of tasks and seeds:", highlight=False)
    console.print(table)


def _table(*columns: str) -> "Table":
    """Narrow enough for a terminal of 80 columns."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _share(found: object) -> str:
    if not isinstance(found, dict) or found["value"] is None:
        return "-"
    if found["low"] is None:
        return f"{found['value']:.1%}"
    return f"{found['value']:.1%} ({100 * found['low']:.0f}–{100 * found['high']:.0f})"


def _text(m: Metric) -> str:
    if m.value != m.value:
        return f"- (n = {m.n})"
    interval = f" ({m.low:.1%} to {m.high:.1%})" if m.low == m.low else ""
    return f"{m.value:.1%}{interval}, n = {m.n}"


if __name__ == "__main__":
    raise SystemExit(main())
