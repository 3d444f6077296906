"""Planted tasks whose right answer is known to be mirrored: no alignment may accept them."""

from dataclasses import replace

import numpy as np

from sinew_policies.common.episodes import Segmented
from sinew_policies.common.types import F32
from sinew_policies.pearl.features import METAWORLD, ObservationLayout
from sinew_policies.pearl.labels import PairLabels


def mirrored_progress(segments: Segmented, layout: ObservationLayout = METAWORLD) -> Segmented:
    """The same segments, in which what was near the goal is far from it: hand and object at distance d from the
    goal are put at the largest d of the task minus d, in the same direction.

    Actions, rewards and successes stay, so progress features now point away from success. Distances between
    segments hardly change: a coupling without an anchor cannot tell.
    """
    observations = segments.observations.copy()
    goal = observations[:, :, layout.goal : layout.goal + 3].astype(np.float64)
    for start in (layout.hand, layout.object):
        place = observations[:, :, start : start + 3]  # a view
        place[...] = _reflected(place - goal, goal)
    return replace(segments, task=f"{segments.task}-mirrored", observations=observations)


def inverted(labels: PairLabels) -> PairLabels:
    """Every preference turned round."""
    return PairLabels(labels.pairs, 1.0 - labels.z)


def _reflected(offset: np.ndarray, goal: np.ndarray) -> F32:
    distance = np.linalg.norm(offset, axis=-1, keepdims=True)
    somewhere = np.broadcast_to([1.0, 0.0, 0.0], offset.shape)  # for what lies in the goal itself
    direction = np.where(distance > 1e-9, offset / np.maximum(distance, 1e-9), somewhere)
    return (goal + direction * (distance.max() - distance)).astype(np.float32)
