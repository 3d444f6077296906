"""`sinew datagen grasp`: the command line of the grasp data generator."""

import argparse
from pathlib import Path

from sinew_sim.datagen.grasp import GraspDataConfig, generate_grasp_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder for objects, shards and manifest.json")
    parser.add_argument("--objects", type=int, default=303, help="training objects to grade in physics")
    parser.add_argument("--scenes", type=int, default=1600, help="settled scenes")
    parser.add_argument("--views", type=int, default=3, help="exposures per scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--minutes", type=float, default=None, help="start no new scenes after this long")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    config = GraspDataConfig(
        out=args.out,
        objects=args.objects,
        scenes=args.scenes,
        views=args.views,
        seed=args.seed,
        workers=args.workers,
        minutes=args.minutes,
    )
    console = Console(markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            tasks = {
                "objects": bar.add_task("objects graded", total=None),
                "scenes": bar.add_task("shards of scenes", total=None),
            }

            def show(phase: str, done: int, total: int) -> None:
                bar.update(tasks[phase], completed=done, total=total)
                if not console.is_terminal and done and (done % 10 == 0 or done == total):
                    console.print(f"{phase} {done}/{total}")

            result = generate_grasp_data(config, show)
    except KeyboardInterrupt:
        console.print(f"interrupted; the same command goes on with what is in {args.out}")
        return 130
    share = result.positives / max(1, result.points)
    console.print(
        f"{result.objects} objects, {result.exposures} exposures, {share:.1%} of the points are contacts, "
        f"{result.seconds / 60:.1f} min → {args.out}"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sinew datagen grasp", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
