"""Rounds of clutter removal with the whole arm, each through the real launch file; one JSON line per round.

`sinew eval grasp --mode arm` runs this in a child process. Rounds end when the table is empty or after two
failures in a row; an object counts as cleared when the simulator finds it in the bin.
"""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sinew_interfaces.action import ClearTable

from sinew_nodes.demo.client import DemoClient
from sinew_nodes.demo.launching import Launch, choose_domain
from sinew_policies.common.errors import SinewError
from sinew_policies.common.seeds import stream

_READY_S, _ROUND_S = 180.0, 400.0
_OUTCOMES = {"perceive": "no_grasp", "choose": "no_grasp", "plan": "no_plan", "drop": "lost"}


@dataclass
class ArmRound:
    seed: int
    index: int
    presented: int
    in_bin: int
    elsewhere: int  # neither on the table nor in the bin
    outcomes: list[str] = field(default_factory=list)  # per attempt: success, missed, lost, no_grasp, no_plan
    reasons: list[str] = field(default_factory=list)  # per attempt, in the task's words; empty on success
    message: str = ""


class AttemptLog:
    """Outcome of every attempt, from the stages that the feedback passes through."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.reasons: list[str] = []
        self._stage, self._removed, self._failed = "", 0, 0

    def hear(self, feedback: ClearTable.Feedback) -> None:
        if feedback.removed > self._removed:
            self.outcomes.append("success")
            self.reasons.append("")
        elif feedback.failed > self._failed:
            self.outcomes.append(_OUTCOMES.get(self._stage, "missed"))
            self.reasons.append(f"{self._stage}: {feedback.detail}")
        self._stage, self._removed, self._failed = feedback.stage, feedback.removed, feedback.failed


def play(args: argparse.Namespace, seed: int, index: int, log: Path) -> ArmRound:
    """One round; raises DeviceTimeout when the graph does not come up."""
    scene_seed = int(stream(seed, "round", args.scenes, index).integers(2**31))
    values: dict[str, object] = {
        "scene": args.scenes,
        "seed": scene_seed,
        "n_objects": args.n_objects,
        "compute": "cpu",
    }
    values |= {k: v for k, v in (("weights", args.weights), ("objects", args.objects)) if v}
    attempts = AttemptLog()
    with Launch("pick", values, log) as launch:
        client = DemoClient()
        try:
            client.wait_for_task(_READY_S, launch.alive)
            result = client.clear_table(attempts.hear, _ROUND_S, launch.alive, max_consecutive_failures=2)
            count = client.count
            assert count is not None
            return ArmRound(
                seed,
                index,
                count.total,
                count.in_bin,
                count.elsewhere,
                attempts.outcomes,
                attempts.reasons,
                result.error_msg,
            )
        finally:
            client.close()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", choices=("packed", "pile"), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--n-objects", type=int, default=5)
    parser.add_argument("--weights", default="")
    parser.add_argument("--objects", default="")
    parser.add_argument("--index", type=int, help="play this round only, in this process")
    args = parser.parse_args(argv)
    if args.index is None:
        return _each_in_its_process(argv, args.seeds, args.rounds)
    choose_domain()
    rclpy.init(args=[])
    with tempfile.TemporaryDirectory(prefix="sinew-arm-") as folder:
        log = Path(folder) / "launch.log"
        try:
            for seed in args.seeds:
                print(json.dumps(asdict(play(args, seed, args.index, log))), flush=True)
        except SinewError as error:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
            print(f"{error}\n{tail}", file=sys.stderr)
            return 1
        finally:
            rclpy.try_shutdown()
    return 0


def _each_in_its_process(argv: Sequence[str], seeds: Sequence[int], rounds: int) -> int:
    """A DDS participant that outlives a launch can block for ever in the shared memory of the ended processes."""
    for seed in seeds:
        for index in range(rounds):
            words = [*argv, "--seeds", str(seed), "--index", str(index)]
            child = subprocess.run([sys.executable, "-m", "sinew_nodes.demo.rounds", *words], check=False)
            if child.returncode:
                return child.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
