"""Divides labelled segments by the episode they come from: labels within one episode are never independent."""

from dataclasses import dataclass

import numpy as np

from sinew_policies.common.episodes import Bool, Index
from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream


@dataclass(frozen=True)
class Split:
    """Which segments train, stop and judge (N,); each episode is in exactly one of the three."""

    train: Bool
    stop: Bool
    test: Bool


def split_by_episode(episode_index: Index, stop_share: float, test_share: float, seed: int) -> Split:
    """Divides segments (N,) by the episode they come from.

    Raises DataError where a wanted part would hold fewer than two episodes.
    """
    episodes = stream(seed, "reward split").permutation(np.unique(episode_index))
    n_stop, n_test = round(stop_share * len(episodes)), round(test_share * len(episodes))
    for name, share, count in (("stop_share", stop_share, n_stop), ("test_share", test_share, n_test)):
        if share > 0.0 and count < 2:
            raise DataError(
                f"{name} {share} of {len(episodes)} episodes is {count}, too few to compare; label segments of "
                f"more episodes, or set {name}=0"
            )
    stop = np.isin(episode_index, episodes[:n_stop])
    test = np.isin(episode_index, episodes[n_stop : n_stop + n_test])
    return Split(~(stop | test), stop, test)


def within(pairs: Index, kept: Bool) -> Index:
    """Which pairs (K, 2) have both their segments among those kept (N,)."""
    return np.flatnonzero(kept[pairs].all(1)).astype(np.int64)
