"""M2T2's latency: point operations, forward passes and the stages around the network, beside plain torch."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from bench.m2t2 import forwards, point_ops, stages
from bench.m2t2.scene import expose
from bench.timing import Timed
from rich.console import Console
from rich.table import Table

from sinew_policies.common.pointcloud import NETWORK_VIEW, from_depth
from sinew_policies.common.report import Report, machine
from sinew_policies.common.seeds import stream

PARTS = ("points", "forward", "stages")


def measure(
    *,
    seed: int = 0,
    repeats: int = 15,
    torch_repeats: int = 1,
    parts: tuple[str, ...] = PARTS,
    plain_forward: bool = True,
) -> list[Timed]:
    """Every part on the same rendered scene, single-threaded unless torch was told otherwise."""
    exposure = expose(seed)
    cloud = from_depth(exposure.frame, exposure.T_base_cam, bounds=NETWORK_VIEW)
    index = stream(seed, "bench").permutation(len(cloud))[: point_ops.N]
    xyz = torch.from_numpy(np.ascontiguousarray((cloud.xyz - cloud.xyz.mean(axis=0))[index]))[None]
    out: list[Timed] = []
    if "points" in parts:
        out += point_ops.run(xyz, repeats=repeats, torch_repeats=torch_repeats)
    if "forward" in parts:
        out += forwards.run(xyz, repeats=max(3, repeats // 3), plain=plain_forward)
    if "stages" in parts:
        out += stages.run(exposure, repeats=repeats, seed=seed)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench/m2t2", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="scene and candidates")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1, help="torch threads; the point operations always use one")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--no-plain", action="store_true", help="skip the forward passes on plain torch points")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    parts = tuple(args.parts.split(","))
    unknown = sorted(set(parts) - set(PARTS))
    if unknown or args.repeats < 1 or args.threads < 1:
        parser.error(f"parts {unknown} unknown (valid: {', '.join(PARTS)}), or repeats or threads below 1")
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    results = measure(seed=args.seed, repeats=args.repeats, parts=parts, plain_forward=not args.no_plain)
    seconds = time.perf_counter() - start
    _print(results, args.threads)
    if args.json is not None:
        metrics = {r.key: r.wall for r in results if "torch" not in r.group}
        command = f"tests/bench/m2t2 --seed {args.seed} --repeats {args.repeats} --threads {args.threads}"
        Report(command, args.seed, seconds, metrics, [r.row() for r in results]).write(args.json)


def _print(results: list[Timed], threads: int) -> None:
    plain = {(r.group.split(",")[0], r.name): r for r in results if "torch" in r.group}
    table = Table(title=f"M2T2 latency, {machine()}, {threads} torch thread(s)", title_justify="left")
    for column in ("", "", "best ms", "median ms", "limit ms", "plain torch ms"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    group = ""
    for r in (r for r in results if "torch" not in r.group):
        other = plain.get((r.group, r.name))
        limit = "" if r.limit_ms is None else f"{r.limit_ms:g}{'' if r.wall.value <= r.limit_ms else ' missed'}"
        table.add_row(
            r.group if r.group != group else "",
            r.name,
            f"{min(r.wall_ms):.2f}",
            f"{r.wall.value:.2f}",
            limit,
            "" if other is None else f"{other.wall.value:.0f}",
        )
        group = r.group
    Console(width=140).print(table)
