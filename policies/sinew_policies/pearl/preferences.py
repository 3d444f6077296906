"""Preferences over pairs of segments, and the CSV file in which they are kept.

One row a pair: task,length,episode_a,start_a,episode_b,start_b,z,source. z = 1 where a is preferred, 0 where b is,
0.5 for a tie, anything between where the label is soft. An abstention is a row that is not there. `source` says
where the label comes from ("scripted", "human", "cpa:button-press", …); labels of several sources are kept apart by
it and never lose it.
"""

import csv
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from sinew_policies.common.episodes import Bool, EpisodeSet, Index, Segments
from sinew_policies.common.errors import DataError, escaped
from sinew_policies.common.types import F64

COLUMNS = ("task", "length", "episode_a", "start_a", "episode_b", "start_b", "z", "source")
TRANSFERRED = "cpa:"  # how the source of a label begins that came from another task
_MAX_LINE = 100_000


@dataclass(frozen=True)
class Preferences:
    """K labelled pairs among N segments of one task; raises DataError where they do not fit together."""

    task: str
    segments: Segments
    pairs: Index  # (K, 2) into the segments
    z: F64  # (K,) 1 = the pair's first is preferred, 0.5 = tie
    sources: tuple[str, ...]  # (K,) where each label comes from

    def __post_init__(self) -> None:
        check_labels(self.pairs, self.z, len(self.segments), f"preferences of '{self.task}'")
        if len(self.sources) != len(self.z):
            raise DataError(
                f"preferences of '{self.task}': {len(self.sources)} sources for {len(self.z)} labels; give one each"
            )

    def __len__(self) -> int:
        return len(self.z)

    @property
    def transferred(self) -> Bool:
        """(K,) labels that came from another task."""
        return np.array([source.startswith(TRANSFERRED) for source in self.sources], bool)


def check_labels(pairs: Index, z: F64, n_segments: int | None, where: str) -> None:
    """Raises DataError unless K pairs of two segments each have K labels in 0..1.

    `n_segments` None: how many segments there are is not known yet.
    """
    if pairs.ndim != 2 or pairs.shape[1] != 2 or z.shape != (len(pairs),):
        raise DataError(f"{where}: pairs have shape {pairs.shape}, labels {z.shape}; expected (K, 2) and (K,)")
    if len(pairs) == 0:
        raise DataError(f"{where}: there are no labelled pairs; expected at least one")
    if pairs.dtype.kind not in "iu":
        raise DataError(f"{where}: pairs are {pairs.dtype}; expected integers, the numbers of segments")
    outside = np.argwhere((pairs < 0) | (pairs >= (math.inf if n_segments is None else n_segments)))
    if len(outside):
        k = int(outside[0][0])
        valid = "from 0" if n_segments is None else f"in 0..{n_segments - 1}"
        raise DataError(f"{where}: pair {k} is {tuple(pairs[k].tolist())}; expected indices {valid}")
    same = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
    if len(same):
        k = int(same[0])
        raise DataError(
            f"{where}: pair {k} is {tuple(pairs[k].tolist())}, a segment beside itself; expected two segments; "
            "leave it out"
        )
    wrong = np.flatnonzero(~((z >= 0.0) & (z <= 1.0)))  # NaN is wrong too
    if len(wrong):
        k = int(wrong[0])
        raise DataError(
            f"{where}: label of pair {k} is {z[k]}; expected 0 (second preferred) to 1 (first preferred), or leave "
            "the pair out where the labeller abstains"
        )


def from_matrix(
    task: str, segments: Segments, z: F64, source: str, *, abstained: Bool | None = None
) -> Preferences:
    """Every pair i < j of a label matrix (N, N) that is not abstained.

    Raises DataError where the matrix does not fit the segments or abstains everywhere.
    """
    n = len(segments)
    if z.shape != (n, n):
        raise DataError(f"label matrix of '{task}' has shape {z.shape}; expected ({n}, {n}) for {n} segments")
    first, second = np.triu_indices(n, k=1)
    if abstained is not None:
        kept = ~abstained[first, second]
        first, second = first[kept], second[kept]
    pairs = np.stack([first, second], 1).astype(np.int64)
    return Preferences(task, segments, pairs, z[first, second].astype(np.float64), (source,) * len(pairs))


def write(preferences: Preferences, path: Path) -> None:
    """Writes the file atomically, making its folder."""
    s, text = preferences.segments, io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for (a, b), z, source in zip(preferences.pairs, preferences.z, preferences.sources, strict=True):
        places = (s.episode_index[a], s.start[a], s.episode_index[b], s.start[b])
        rows.writerow([preferences.task, s.length, *map(int, places), repr(float(z)), source])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text.getvalue())
    partial.replace(path)


def read(path: Path, episodes: EpisodeSet) -> Preferences:
    """The file's pairs over `episodes`.

    Raises DataError for a damaged file, another task, or a segment outside the episodes.
    """
    rows = _rows(path)
    first = next(rows, [])
    if tuple(first) != COLUMNS:
        raise DataError(
            f"{path}: first line is {escaped(','.join(first[:20])) or '(none)'}; expected {','.join(COLUMNS)}"
        )
    numbers: dict[tuple[int, int], int] = {}  # (episode, start) → segment
    pairs: list[tuple[int, int]] = []
    z: list[float] = []
    sources: list[str] = []
    lengths: set[int] = set()
    for line, row in enumerate(rows, start=2):
        try:
            task, length, episode_a, start_a, episode_b, start_b, label, source = row
            a, b = (int(episode_a), int(start_a)), (int(episode_b), int(start_b))
            lengths.add(int(length))
            z.append(float(label))
        except ValueError as fault:
            raise DataError(
                f"{path}, line {line}: {escaped(','.join(row[:20]))} is not a pair ({escaped(str(fault))}); "
                f"expected {','.join(COLUMNS)}"
            ) from fault
        if task != episodes.task:
            raise DataError(
                f"{path}, line {line} is about task {task[:80]!r}, the episodes are of '{episodes.task}'; give the "
                "episodes that were labelled"
            )
        for place in (a, b):
            _check_place(place, int(length), episodes, f"{path}, line {line}")
        pairs.append((numbers.setdefault(a, len(numbers)), numbers.setdefault(b, len(numbers))))
        sources.append(source)
    if not pairs:
        raise DataError(f"{path} holds no pair; expected at least one row below the names")
    if len(lengths) > 1:
        raise DataError(f"{path} mixes segments of {sorted(lengths)} steps; keep one length per file")
    places = np.array(list(numbers), np.int64)  # (N, 2)
    segments = Segments(places[:, 0], places[:, 1], lengths.pop())
    return Preferences(episodes.task, segments, np.array(pairs, np.int64), np.array(z, np.float64), tuple(sources))


def _rows(path: Path) -> Iterator[list[str]]:
    """One after the other, for a row of text takes many times the memory of its numbers."""
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
        raise DataError(f"preferences {path} are a folder or a device; expected a CSV file")
    try:
        with path.open(newline="") as file:
            yield from csv.reader(_lines(file, path))
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"cannot read preferences {path} ({fault}); expected a CSV file") from fault


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise DataError(f"{path} has a line of over {_MAX_LINE} characters; expected {','.join(COLUMNS)}")
        yield line


def _check_place(place: tuple[int, int], length: int, episodes: EpisodeSet, where: str) -> None:
    episode, start = place
    if not 0 <= episode < len(episodes):
        raise DataError(
            f"{where}: there is no episode {episode} among {len(episodes)}; give the episodes that were labelled"
        )
    steps = int(episodes.lengths[episode])
    if length < 1 or start < 0 or start + length > steps:
        raise DataError(
            f"{where}: steps {start} to {start + length} are outside episode {episode}, which has {steps}; give "
            "the episodes that were labelled"
        )
