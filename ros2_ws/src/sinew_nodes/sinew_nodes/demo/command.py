"""`sinew demo`: launches the simulated cell, has the task clear its table, says what came of it.

Needs no terminal, display or input and ends by itself. Exit code 0 only if at least 80 % of the objects lie in
the bin, counted by the simulator, not by the task.
"""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from sinew_interfaces.action import ClearTable

from sinew_nodes import convert
from sinew_nodes.demo.client import DemoClient
from sinew_nodes.demo.console import RunView, Step, closing_table
from sinew_nodes.demo.launching import Launch, choose_domain
from sinew_nodes.demo.picture import side_by_side
from sinew_policies.common.errors import ConfigError, SinewError

ENOUGH = 0.8
_READY_S = 150.0
_TASK_S = 540.0


def main(argv: Sequence[str]) -> int:
    args = _arguments(argv)
    out = args.out or Path("runs") / datetime.now().strftime("demo-%Y%m%d-%H%M%S")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    domain = choose_domain()
    console = Console()
    console.print(f"launching the cell on ROS domain {domain}; log: {out / 'launch.log'}")
    with Launch("pick", _launch_arguments(args, out), out / "launch.log") as launch:
        try:
            code = _run(args, out, launch, console)
            if args.keep:
                console.print("the graph and the page stay open; press Ctrl-C to end")
                launch.wait()
            return code
        except KeyboardInterrupt:
            return 130
        except SinewError as error:
            console.print(f"[red]the demo failed:[/red] {error}")
            console.print(f"the end of {launch.log}:\n{launch.tail()}", markup=False)
            return 1


def _run(args: argparse.Namespace, out: Path, launch: Launch, console: Console) -> int:
    rclpy.init(args=[])
    client = DemoClient()
    try:
        client.wait_for_task(_READY_S, launch.alive)
        assert client.count is not None
        total = client.count.total
        ready_s = launch.seconds()
        first_reach_s: list[float] = []
        with RunView(total, console) as view:

            def show(feedback: ClearTable.Feedback) -> None:
                t_s = launch.seconds()
                if feedback.stage == "approach" and not first_reach_s:
                    first_reach_s.append(t_s)
                view.step(Step(t_s, feedback.stage, feedback.removed, feedback.failed, feedback.detail))

            result = client.clear_table(show, _TASK_S, launch.alive)
        count = client.count
        picture = _picture(client, out, total, count.in_bin)
        share = count.in_bin / total if total else 0.0
        rows = [
            ("objects", str(total)),
            ("in the bin (simulator's count)", f"{count.in_bin} ({100 * share:.0f} %)"),
            ("grasps attempted", str(result.attempted)),
            ("grasp success", f"{100 * result.removed / result.attempted:.0f} %" if result.attempted else "-"),
            ("graph ready after", f"{ready_s:.0f} s"),
            ("first grasp after", f"{first_reach_s[0]:.0f} s" if first_reach_s else "-"),
            ("clearing took (simulated)", f"{result.seconds:.0f} s"),
            ("the task says", result.error_msg or "table cleared"),
        ]
        console.print(closing_table(rows, f"{args.scene} scene, seed {args.seed}"))
    finally:
        client.close()
        rclpy.try_shutdown()
    if not args.keep:
        launch.stop()
    for what, path in (("picture", picture), ("video", out / "run.mp4"), ("recording", out / "run.mcap")):
        console.print(f"{what}: {path if path and path.exists() else 'missing'}", highlight=False, soft_wrap=True)
    return 0 if share >= ENOUGH else 1


def _picture(client: DemoClient, out: Path, total: int, in_bin: int) -> Path | None:
    first = client.first_picture()
    if first is None or client.image is None:
        return None
    path = out / "run.jpg"
    panels = [("M2T2's ten best grasps at first sight", first)]
    panels.append((f"at the end: {in_bin} of {total} in the bin", convert.rgb(client.image)))
    side_by_side(panels, path)
    return path


def _launch_arguments(args: argparse.Namespace, out: Path) -> dict[str, object]:
    values: dict[str, object] = {
        "devices": "sim",
        "scene": args.scene,
        "seed": args.seed,
        "n_objects": args.objects,
        "compute": args.compute,
        "record": "true",
        "record_dir": out.resolve(),
        "view": "true" if args.keep or args.view else "false",
        "headless": "true",
    }
    if args.weights:
        values["weights"] = args.weights.resolve()
    return values


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sinew demo", description="A simulated Panda clears a cluttered table.")
    parser.add_argument("--seed", type=int, default=7, help="seed of the scene (default 7)")
    parser.add_argument("--scene", choices=("packed", "pile"), default="packed")
    parser.add_argument("--objects", type=int, default=6, help="objects on the table (default 6)")
    parser.add_argument("--weights", type=Path, help="weights folder (default: the shipped ones)")
    parser.add_argument("--compute", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, help="new folder for log, picture, video and recording")
    parser.add_argument("--view", action="store_true", help="serve the live page while it runs")
    parser.add_argument("--keep", action="store_true", help="leave graph and page open afterwards")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
