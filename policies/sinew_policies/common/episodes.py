"""Recorded episodes, sets of them from one task, and segments cut from a set.

An episode is T transitions of one task: observation, action, reward, success flag and next observation of each
step. Shapes: T steps, O observation numbers, A action numbers; N segments of H steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32

Bool = NDArray[np.bool_]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Episode:
    """One recorded trial; raises DataError where the arrays disagree, are empty or hold NaN or infinity."""

    task: str
    observations: F32  # (T, O)
    actions: F32  # (T, A)
    rewards: F32  # (T,)
    successes: Bool  # (T,) whether the task counts as done after that step
    next_observations: F32  # (T, O)
    source: str  # who acted: "expert", "epsilon", "wrong-task", "random", "human", …
    seed: int  # of the trial: layout and noise

    def __post_init__(self) -> None:
        where = f"episode of '{self.task}' (source '{self.source}', seed {self.seed})"
        steps = len(self.actions)
        if self.actions.ndim != 2 or 0 in self.actions.shape:
            raise DataError(
                f"{where}: actions have shape {self.actions.shape}; expected (steps, numbers), not empty"
            )
        expected = {
            "observations": (steps, *self.observations.shape[1:2]),
            "next_observations": (steps, *self.observations.shape[1:2]),
            "rewards": (steps,),
            "successes": (steps,),
        }
        if self.observations.ndim != 2 or 0 in self.observations.shape:
            raise DataError(
                f"{where}: observations have shape {self.observations.shape}; expected (steps, numbers), not empty"
            )
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise DataError(
                    f"{where}: {name} has shape {found}; expected {shape} beside actions of shape "
                    f"{self.actions.shape}; record the episode again or drop it"
                )
        for name in ("observations", "actions", "rewards", "next_observations"):
            finite = np.isfinite(getattr(self, name))
            if not finite.all():
                step = int(np.argwhere(~finite)[0][0])
                raise DataError(
                    f"{where}: {name} is not finite at step {step}; drop the episode or record it again"
                )

    @property
    def length(self) -> int:
        """Steps."""
        return len(self.actions)

    @property
    def success_steps(self) -> int:
        """How many steps the task counted as done: 0 for a failure."""
        return int(self.successes.sum())

    @property
    def succeeded(self) -> bool:
        return bool(self.successes.any())

    @property
    def undiscounted_return(self) -> float:
        return float(self.rewards.sum(dtype=np.float64))


@dataclass(frozen=True)
class Transitions:
    """Steps of several episodes one after the other: K steps in all."""

    observations: F32  # (K, O)
    actions: F32  # (K, A)
    rewards: F32  # (K,)
    successes: Bool  # (K,)
    next_observations: F32  # (K, O)
    episode_index: Index  # (K,) into the set
    step: Index  # (K,) within its episode
    ends: Bool  # (K,) the last recorded step of its episode (a time limit, not a terminal state)


@dataclass(frozen=True)
class EpisodeSet:
    """Episodes of one task with equal observation and action sizes; raises DataError otherwise."""

    task: str
    episodes: tuple[Episode, ...]

    def __post_init__(self) -> None:
        if not self.episodes:
            raise DataError(f"task '{self.task}': there are no episodes; expected at least one; collect some")
        first = self.episodes[0]
        for k, e in enumerate(self.episodes):
            if e.task != self.task:
                raise DataError(
                    f"episode {k} is of task '{e.task}' in a set of '{self.task}'; keep one task per set"
                )
            sizes, expected = (
                (e.observations.shape[1], e.actions.shape[1]),
                (first.observations.shape[1], first.actions.shape[1]),
            )
            if sizes != expected:
                raise DataError(
                    f"task '{self.task}': episode {k} has {sizes[0]} observation and {sizes[1]} action numbers, "
                    f"episode 0 has {expected[0]} and {expected[1]}; keep one observation layout per set"
                )

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def observation_dim(self) -> int:
        return self.episodes[0].observations.shape[1]

    @property
    def action_dim(self) -> int:
        return self.episodes[0].actions.shape[1]

    @cached_property
    def lengths(self) -> Index:
        return np.array([e.length for e in self.episodes], np.int64)  # (E,)

    @cached_property
    def success_steps(self) -> Index:
        return np.array([e.success_steps for e in self.episodes], np.int64)  # (E,)

    @cached_property
    def returns(self) -> F32:
        return np.array([e.undiscounted_return for e in self.episodes], np.float32)  # (E,)

    @property
    def success_rate(self) -> float:
        """Fraction of episodes that succeed at some step."""
        return float((self.success_steps > 0).mean())

    def subset(self, indices: Sequence[int] | Index) -> "EpisodeSet":
        return EpisodeSet(self.task, tuple(self.episodes[int(k)] for k in indices))

    def transitions(self) -> Transitions:
        """Every step of every episode, in order."""
        ends = np.zeros(int(self.lengths.sum()), np.bool_)
        ends[np.cumsum(self.lengths) - 1] = True
        return Transitions(
            observations=np.concatenate([e.observations for e in self.episodes]),
            actions=np.concatenate([e.actions for e in self.episodes]),
            rewards=np.concatenate([e.rewards for e in self.episodes]),
            successes=np.concatenate([e.successes for e in self.episodes]),
            next_observations=np.concatenate([e.next_observations for e in self.episodes]),
            episode_index=np.repeat(np.arange(len(self), dtype=np.int64), self.lengths),
            step=np.concatenate([np.arange(n, dtype=np.int64) for n in self.lengths]),
            ends=ends,
        )


@dataclass(frozen=True)
class Segments:
    """Places of N segments of equal length in an EpisodeSet."""

    episode_index: Index  # (N,)
    start: Index  # (N,) first step
    length: int  # H

    def __post_init__(self) -> None:
        if self.episode_index.ndim != 1 or self.episode_index.shape != self.start.shape:
            raise DataError(
                f"segments: episode_index has shape {self.episode_index.shape} and start {self.start.shape}; "
                "expected two vectors of one length"
            )
        if self.length < 1:
            raise DataError(f"segments: length is {self.length}; expected 1 or more steps")

    def __len__(self) -> int:
        return len(self.episode_index)


@dataclass(frozen=True)
class Segmented:
    """The contents of N segments of one task."""

    task: str
    observations: F32  # (N, H, O)
    actions: F32  # (N, H, A)
    rewards: F32  # (N, H)
    successes: Bool  # (N, H)
    episode_index: Index  # (N,) segments of one episode are never independent: split by it
    start: Index  # (N,)

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def success_steps(self) -> Index:
        return self.successes.sum(1).astype(np.int64)  # (N,)

    @property
    def returns(self) -> F32:
        return self.rewards.sum(1, dtype=np.float64).astype(np.float32)  # (N,)

    def subset(self, indices: Sequence[int] | Index) -> "Segmented":
        i = np.asarray(indices, np.int64)
        return Segmented(
            self.task,
            self.observations[i],
            self.actions[i],
            self.rewards[i],
            self.successes[i],
            self.episode_index[i],
            self.start[i],
        )


def whole_episodes(episodes: EpisodeSet) -> Segments:
    """Each episode as one segment.

    Raises DataError where lengths differ: take random_segments then.
    """
    lengths = np.unique(episodes.lengths)
    if len(lengths) > 1:
        raise DataError(
            f"task '{episodes.task}': episodes have {lengths[0]} to {lengths[-1]} steps, so they cannot be "
            f"compared whole; cut segments of at most {lengths[0]} steps"
        )
    index = np.arange(len(episodes), dtype=np.int64)
    return Segments(index, np.zeros_like(index), int(lengths[0]))


def random_segments(episodes: EpisodeSet, count: int, length: int, seed: int) -> Segments:
    """`count` segments, their episodes drawn without repetition where there are enough, starts uniform.

    Raises DataError where no episode is `length` steps long.
    """
    rng = stream(seed, "segments", episodes.task, length)
    usable = np.flatnonzero(episodes.lengths >= length)
    if not len(usable) or count < 1:
        raise DataError(
            f"task '{episodes.task}': asked for {count} segments of {length} steps; expected at least 1 segment, "
            f"and the longest of {len(episodes)} episodes has {episodes.lengths.max()} steps; ask for shorter ones"
        )
    rounds = -(-count // len(usable))
    index = np.concatenate([rng.permutation(usable) for _ in range(rounds)])[:count].astype(np.int64)
    start = rng.integers(0, episodes.lengths[index] - length + 1).astype(np.int64)
    return Segments(index, start, length)


def cut(episodes: EpisodeSet, segments: Segments) -> Segmented:
    """Copies the segments out of the set.

    Raises DataError for a segment outside its episode.
    """
    index, start, length = segments.episode_index, segments.start, segments.length
    if len(index) == 0:
        raise DataError(f"task '{episodes.task}': there are no segments to cut; expected at least one")
    inside = (index >= 0) & (index < len(episodes)) & (start >= 0)
    inside[inside] &= start[inside] + length <= episodes.lengths[index[inside]]
    if not inside.all():
        k = int(np.flatnonzero(~inside)[0])
        raise DataError(
            f"task '{episodes.task}': segment {k} (episode {index[k]}, steps {start[k]} to {start[k] + length}) is "
            f"outside the set of {len(episodes)} episodes of at most {episodes.lengths.max()} steps"
        )
    chosen = [
        (episodes.episodes[int(e)], slice(int(s), int(s) + length)) for e, s in zip(index, start, strict=True)
    ]
    return Segmented(
        task=episodes.task,
        observations=np.stack([e.observations[part] for e, part in chosen]),
        actions=np.stack([e.actions[part] for e, part in chosen]),
        rewards=np.stack([e.rewards[part] for e, part in chosen]),
        successes=np.stack([e.successes[part] for e, part in chosen]),
        episode_index=index,
        start=start,
    )
