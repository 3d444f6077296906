"""`sinew align`: labels of a source task become labels of a target task (cross-task preference alignment, CPA).

A task is the name of a Meta-World task, whose graded episodes are collected or read from --data, or an HDF5 file in
robomimic's layout. Source labels come from --labels, or else from the episodes' own success flags and rewards. Of
several sources the best that is not refused lends its labels. The labels go to a CSV file that `sinew train reward`
reads, marked as transferred; where every source is refused, none is written. Words such as subset=32 or
sign.min_labels=20 change settings of the method.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sinew_policies.common import config as configuration
from sinew_policies.common import episode_hdf5
from sinew_policies.common.episodes import EpisodeSet, Index, Segments, cut, random_segments, whole_episodes
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.report import Metric, Report, Row
from sinew_policies.common.types import F64
from sinew_policies.pearl import preferences, scripted
from sinew_policies.pearl.align import AlignConfig, Alignment
from sinew_policies.pearl.labels import PairLabels, from_matrix
from sinew_policies.pearl.ranking import Ranked, Source, best, rank
from sinew_sim.evaluation.pearl_data import WHOLE, Collection
from sinew_sim.evaluation.pearl_scores import label_accuracy
from sinew_sim.metaworld.tasks import canonical

if TYPE_CHECKING:
    from rich.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="task names or files, comma-separated")
    parser.add_argument("--target", required=True, help="task name or file")
    parser.add_argument("--out", type=Path, required=True, help="CSV file for the transferred labels")
    parser.add_argument("--labels", type=Path, default=None, help="CSV file of the (one) source's labels")
    parser.add_argument("--target-labels", type=Path, default=None, help="CSV file of a few target labels")
    parser.add_argument("--length", type=int, default=WHOLE, help="steps per segment; 0 = whole episodes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("data/metaworld"), help="folder of collected episodes")
    parser.add_argument("--workers", type=int, default=2, help="processes that collect")
    parser.add_argument("--config", type=Path, default=None, help="YAML file of settings")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    parser.add_argument("settings", nargs="*", help="name=value, such as draws=96")


def run(args: argparse.Namespace) -> int:
    """Exit status 0 with labels written, 2 where every source is refused, 130 when interrupted."""
    from rich.console import Console

    console, begun = Console(markup=False), time.monotonic()
    if args.json:
        Report.check_writable(args.json)
    config = configuration.load(AlignConfig, args.config, args.settings)
    for task in (*args.source.split(","), args.target):
        if not _is_file(task):
            canonical(task)  # a slip of the pen is told before anything is recorded
    try:
        sources = [_source(task, args) for task in args.source.split(",")]
        if args.labels and len(sources) > 1:
            raise ConfigError(f"--labels are of one source, --source names {len(sources)}; name that one")
        target = _episodes(args.target, args)
        places, few = _target_places(target, args)
        segments = cut(target, places)
        ranked = rank(sources, segments, config, target_anchor=few, seed=args.seed)
    except KeyboardInterrupt:
        console.print(f"interrupted; the same command goes on with the episodes in {args.data}")
        return 130
    _print(console, ranked)
    chosen = best(ranked)
    truth = _scripted(target, places)
    metrics = _metrics(chosen, truth, segments.episode_index, few, args.seed)
    if args.json:
        rows = [_row(r) for r in ranked]
        Report("align", args.seed, time.monotonic() - begun, metrics, rows).write(args.json)
    if chosen is None:
        raise DataError(
            f"no source may lend its labels to '{target.task}', so {args.out} was not written: "
            + "; ".join(f"'{r.task}': {r.reason}" for r in ranked)
        )
    found = preferences.from_matrix(
        target.task, places, chosen.z, f"{preferences.TRANSFERRED}{chosen.source}", abstained=chosen.abstained
    )
    preferences.write(found, args.out)
    console.print(
        f"{len(found)} labels from '{chosen.source}' ({chosen.coverage:.0%} of the pairs, {chosen.sign.verdict}) "
        f"→ {args.out}",
        highlight=False,
    )
    if right := metrics.get("label_accuracy"):
        console.print(
            f"{right.value:.1%} ({right.low:.1%} to {right.high:.1%}) of them agree with the target's own success "
            "flags and rewards, which the transfer did not see",
            highlight=False,
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sinew align", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    return run(parser.parse_args(argv))


def _episodes(task: str, args: argparse.Namespace) -> EpisodeSet:
    if _is_file(task):
        return episode_hdf5.read(Path(task))
    return Collection(folder=args.data).get(task, args.seed, args.workers)


def _is_file(task: str) -> bool:
    return task.endswith((".hdf5", ".h5")) or Path(task).is_file()


def _source(task: str, args: argparse.Namespace) -> Source:
    episodes = _episodes(task, args)
    if args.labels:
        given = preferences.read(args.labels, episodes)
        return Source(cut(episodes, given.segments), PairLabels(given.pairs, given.z))
    segments = cut(episodes, _places(episodes, args))
    z = scripted.preference(segments.success_steps, segments.returns)
    return Source(segments, from_matrix(z))


def _places(episodes: EpisodeSet, args: argparse.Namespace) -> Segments:
    if args.length == WHOLE:
        return whole_episodes(episodes)
    return random_segments(episodes, len(episodes), args.length, args.seed)


def _target_places(target: EpisodeSet, args: argparse.Namespace) -> tuple[Segments, PairLabels | None]:
    """One segment of each episode; with target labels, the labelled ones first, so that they keep their numbers."""
    places = _places(target, args)
    if args.target_labels is None:
        return places, None
    given = preferences.read(args.target_labels, target)
    if given.segments.length != places.length:
        raise ConfigError(
            f"{args.target_labels} labels segments of {given.segments.length} steps, --length asks for "
            f"{places.length}; take --length {given.segments.length}"
        )
    labelled = set(zip(given.segments.episode_index.tolist(), given.segments.start.tolist(), strict=True))
    others = [
        k
        for k, place in enumerate(zip(places.episode_index.tolist(), places.start.tolist(), strict=True))
        if place not in labelled
    ]
    merged = Segments(
        np.concatenate([given.segments.episode_index, places.episode_index[others]]),
        np.concatenate([given.segments.start, places.start[others]]),
        places.length,
    )
    return merged, PairLabels(given.pairs, given.z)


def _scripted(target: EpisodeSet, places: Segments) -> F64 | None:
    """(N, N) what the target's own success flags and rewards prefer; None where they prefer nothing."""
    segments = cut(target, places)
    z = scripted.preference(segments.success_steps, segments.returns)
    return None if (z == 0.5).all() else z


def _metrics(
    chosen: Alignment | None,
    truth: F64 | None,
    episode: Index,
    few: PairLabels | None,
    seed: int,
) -> dict[str, Metric]:
    if chosen is None:
        return {"abstained": Metric(1.0, float("nan"), float("nan"), 0, "fraction")}
    n = len(chosen.z)
    metrics = {"abstained": Metric(1.0 - chosen.coverage, float("nan"), float("nan"), n * (n - 1) // 2, "fraction")}
    if truth is not None:
        counted = ~chosen.abstained
        if few is not None:
            counted[few.pairs[:, 0], few.pairs[:, 1]] = counted[few.pairs[:, 1], few.pairs[:, 0]] = False
        metrics["label_accuracy"] = label_accuracy(chosen.source, chosen.z, truth, counted, episode, seed).metric
    return metrics


def _row(ranked: Ranked) -> Row:
    a = ranked.alignment
    if a is None:
        return {"source": ranked.task, "verdict": "refused", "reason": ranked.reason}
    numbers = {
        "score": ranked.score,
        "sign_agreement": a.sign.agreement,
        "structure": a.sign.structure,
        "cue": a.sign.cue,
        "source_accuracy": a.sign.source_accuracy,
        "coverage": a.coverage,
    }
    return {
        "source": ranked.task,
        "verdict": a.sign.verdict,
        "reason": a.sign.reason,
        **{name: float(v) if np.isfinite(v) else None for name, v in numbers.items()},
    }


def _print(console: "Console", ranked: Sequence[Ranked]) -> None:
    from rich.table import Table

    table = Table()
    for column in ("source", "verdict", "labelled pairs", "structure", "cue", "target labels agree"):
        table.add_column(column)
    for r in ranked:
        row, a = _row(r), r.alignment
        numbers = [a.coverage, a.sign.structure, a.sign.cue, a.sign.agreement] if a else [float("nan")] * 4
        table.add_row(r.task, str(row["verdict"]), *("-" if v != v else f"{v:.2f}" for v in numbers))
    console.print(table)
    for r in ranked:
        if reason := _row(r)["reason"]:
            console.print(f"{r.task}: {reason}", highlight=False)


if __name__ == "__main__":
    raise SystemExit(main())
