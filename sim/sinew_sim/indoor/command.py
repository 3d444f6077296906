"""`sinew inspect PATH`: what a data set's file holds; exit status 2 where it is damaged or of no use."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sinew_policies.common.cli import program_parser
from sinew_policies.common.errors import SinewError
from sinew_sim.indoor.inspection import Findings, inspect_file


def main(argv: Sequence[str]) -> int:
    parser = program_parser(
        "inspect",
        "Say what episode files, navigation meshes, semantic.txt and scene configurations hold. Exit status 2 "
        "where one of them is damaged or has unusable episodes.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--navmesh", type=Path, help="check the episodes' starts and goals on this navigation mesh")
    options = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    worst = 0
    for path in options.paths:
        try:
            findings = inspect_file(path, options.navmesh)
        except SinewError as error:
            console.print(f"{path}: damaged or unreadable\n  {error}", markup=False, style="red")
            worst = 2
            continue
        _print(console, path, findings)
        worst = max(worst, 2 if findings.problems else 0)
    return worst


def _print(console: Console, path: Path, findings: Findings) -> None:
    console.print(f"{path}: {findings.kind}, {path.stat().st_size / 1e6:.3f} MB", markup=False)
    for what, value in findings.facts:
        console.print(f"  {what:<12} {value}", markup=False)
    for note in findings.notes:
        console.print(f"  note: {note}", markup=False, style="yellow")
    for problem in findings.problems:
        console.print(f"  problem: {problem}", markup=False, style="red")
    if not findings.problems:
        console.print("  sound", markup=False, style="green")
