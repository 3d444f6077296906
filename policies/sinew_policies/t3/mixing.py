"""Which source serves which step, and which samples its batches hold: pure functions of a seed.

Nothing is carried from step to step, so a training goes on after an interruption exactly where it was.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64

RULES = ("root", "equal", "invlinear")
SHUFFLE_WINDOW = 10_000

_BLOCK = 4096  # steps drawn at once


def shares(n_batches: Sequence[int], rule: str = "root") -> F64:
    """Probability of each source: by the square root of its batches, equal, or inverse to its batches."""
    if rule not in RULES:
        raise ConfigError(f"unknown mixing rule '{rule}'; {name_hint(rule, RULES)}")
    n = np.array(n_batches, np.float64)
    if not len(n) or (n < 1).any():
        raise ConfigError(f"sources have {list(n_batches)} batches; expected at least one source, one batch each")
    weight = {"root": np.sqrt(n), "equal": np.ones_like(n), "invlinear": 1.0 / n}[rule]
    return weight / weight.sum()


class Schedule:
    """The source of every step, and how often it was asked before."""

    def __init__(self, probabilities: F64, seed: int) -> None:
        self._probabilities, self._seed = probabilities, seed
        self._before = [np.zeros(len(probabilities), np.int64)]  # turns of each source before each block
        self._block: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def at(self, step: int) -> tuple[int, int]:
        """(source, its turn) of `step`; the first turn of a source is 0."""
        block, place = divmod(step, _BLOCK)
        while len(self._before) <= block:
            drawn = self._drawn(len(self._before) - 1)
            self._before.append(self._before[-1] + np.bincount(drawn, minlength=len(self._probabilities)))
        drawn = self._drawn(block)
        source = int(drawn[place])
        return source, int(self._before[block][source]) + int((drawn[:place] == source).sum())

    def _drawn(self, block: int) -> NDArray[np.int64]:
        if self._block[0] != block:
            rng = stream(self._seed, "mixing", block)
            drawn = rng.choice(len(self._probabilities), size=_BLOCK, p=self._probabilities)
            self._block = (block, drawn)
        return self._block[1]


class Order:
    """Endless batches of one source; each epoch in its own order, the incomplete last batch dropped.

    Shards are shuffled, and samples within windows of SHUFFLE_WINDOW: nearly a full shuffle, yet neighbouring
    reads stay in few files.
    """

    def __init__(self, shard_sizes: Sequence[int], batch: int, seed: int, name: str) -> None:
        self._sizes, self._batch, self._seed, self._name = tuple(shard_sizes), batch, seed, name
        self.n_batches = sum(shard_sizes) // batch
        if self.n_batches < 1:
            raise ConfigError(
                f"set '{name}' has {sum(shard_sizes)} samples, fewer than a batch of {batch}; use a smaller batch "
                "or leave the set out"
            )
        self._epoch: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def indices(self, turn: int) -> NDArray[np.int64]:
        """Samples (batch,) of the `turn`-th batch; past the last one the source starts again."""
        epoch, place = divmod(turn, self.n_batches)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return self._epoch[1][place * self._batch : (place + 1) * self._batch]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        rng = stream(self._seed, "order", self._name, epoch)
        starts = np.concatenate([[0], np.cumsum(self._sizes)])
        order = np.concatenate([np.arange(starts[s], starts[s + 1]) for s in rng.permutation(len(self._sizes))])
        for begin in range(0, len(order), SHUFFLE_WINDOW):
            rng.shuffle(order[begin : begin + SHUFFLE_WINDOW])
        return order
