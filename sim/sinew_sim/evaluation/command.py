"""`sinew eval grasp`: the command line of the grasp evaluation."""

import argparse
import math
from pathlib import Path

from sinew_policies.common.errors import ConfigError, SinewError
from sinew_policies.common.report import Metric, Report
from sinew_sim.evaluation.grasp import MODES, GraspEvalConfig, timed
from sinew_sim.evaluation.policies import BASELINES, NETWORK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenes", choices=("packed", "pile"), default="packed")
    parser.add_argument("--mode", choices=MODES, default="floating")
    parser.add_argument("--rounds", type=int, default=40, help="rounds per seed")
    parser.add_argument("--seeds", default="0", help="comma-separated, e.g. 0,1,2")
    parser.add_argument("--objects", type=Path, default=None, help="folder of meshes instead of test objects")
    parser.add_argument("--weights", type=Path, default=None, help="weights folder; default: the shipped ones")
    parser.add_argument("--baselines", action="store_true", help="also " + ", ".join(BASELINES))
    parser.add_argument("--policy", choices=(NETWORK, *BASELINES), default=NETWORK, help="what is evaluated")
    parser.add_argument("--noise", default="stereo", help="depth noise preset")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(markup=False)
    try:
        if args.json:
            Report.check_writable(args.json)
        config = GraspEvalConfig(
            scenes=args.scenes,
            mode=args.mode,
            rounds=args.rounds,
            seeds=_seeds(args.seeds),
            objects_dir=args.objects,
            weights=args.weights,
            policies=(args.policy, *(b for b in BASELINES if args.baselines and b != args.policy)),
            workers=args.workers,
            noise=args.noise,
        )
        with Progress(console=console) as bar:
            task = bar.add_task("rounds", total=None)
            results, report = timed(config, lambda done, total: bar.update(task, completed=done, total=total))
    except SinewError as fault:
        console.print(f"{type(fault).__name__}: {fault}", style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    _print(console, config, report)
    for result in results:
        for attempt in result.attempts:
            if attempt.reason:
                console.print(
                    f"seed {result.spec.seed} round {result.spec.index}: {attempt.reason}", highlight=False
                )
    if args.json:
        report.write(args.json)
        console.print(f"written: {args.json}")
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sinew eval grasp", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(s) for s in text.split(","))
    except ValueError:
        raise ConfigError(f"--seeds is '{text}'; expected integers such as 0,1,2") from None


def _print(console: object, config: GraspEvalConfig, report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    assert isinstance(console, Console)
    table = Table(title=f"{config.scenes}, {config.mode}, {config.rounds} rounds x {len(config.seeds)} seeds")
    for column in ("policy", "GSR", "DR", "no grasp", "no plan", "collided", "lost", "p50"):
        table.add_column(column, no_wrap=column == "policy", overflow="fold")
    keys = ("gsr", "dr", "no_grasp", "planner_failures", "collisions", "lost_while_lifted")
    for row in report.rows:
        if "family" in row:
            continue
        cells = [str(row["policy"])]
        cells += [_rate(row.get(key), interval=key in ("gsr", "dr")) for key in keys]
        latency = row.get("latency_proposal_p50_ms")
        cells.append(f"{latency['value']:.0f} ms" if isinstance(latency, dict) and latency["value"] else "-")
        table.add_row(*cells)
    console.print(table)
    families = [r for r in report.rows if "family" in r]
    if families:
        console.print(
            "GSR by family: " + ", ".join(f"{r['family']} {_rate(r['gsr'], interval=True)}" for r in families)
        )


def _rate(fields: object, *, interval: bool = False) -> str:
    if not isinstance(fields, dict) or fields.get("value") is None:
        return "-"
    m = Metric(fields["value"], fields["low"], fields["high"], fields["n"])
    if not math.isfinite(m.value):
        return "-"
    if not interval:
        return f"{m.value:.1%}"
    return f"{m.value:.1%} ({m.low:.0%}–{m.high:.0%}) of {m.n}"


if __name__ == "__main__":
    raise SystemExit(main())
