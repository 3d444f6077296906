"""Feature maps: one vector of numbers per segment, by which segments are compared.

- raw: states and actions as recorded, flattened; assumes nothing, and compares segments of one task only.
- relative: hand to object, object to goal and hand to goal in metres, frame by frame.
- progress: how close object and goal, hand and object are, summed up per segment; larger = closer.
- actions: how large and how smooth actions are and how little the gripper is worked; the tasks' shared action space
  is all it needs. smoothness: the last two of these.

`relative` and `progress` need an ObservationLayout: the claim that observations hold the positions of a hand, of
the object it acts on and of the goal, and that coming closer is progress. Where the object hardly ever moves
towards or from the goal, whoever acts, the task is not about it, and the hand takes its place. Nothing here reads a
reward, a success flag or a label.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from sinew_policies.common.episodes import Segmented
from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F64

_FRAMES = 50  # raw and relative maps look at no more frames than this
_MOVED_M = 0.02  # change of the object's distance to the goal that counts as moved
_MOVED_SHARE = 0.2  # of a task's segments, below which the object is scenery


@dataclass(frozen=True)
class ObservationLayout:
    """Index of the first of three coordinates (metres) of the hand, of the object and of the goal."""

    hand: int
    object: int
    goal: int


METAWORLD = ObservationLayout(hand=0, object=4, goal=36)

PROGRESS_NAMES = ("object_goal_mean", "object_goal_drop", "hand_object_mean")
ACTION_NAMES = ("magnitude", "jerk", "gripper_spread")
SMOOTHNESS_NAMES = ("jerk", "gripper_spread")  # magnitude means opposite things in different tasks


def features(name: str, segments: Segmented, layout: ObservationLayout = METAWORLD) -> F64:
    """Feature vectors (N, F) of N segments.

    Raises ConfigError for an unknown map, DataError for observations too short for the layout or not finite.
    """
    if name not in MAPS:
        raise ConfigError(f"there is no feature map '{name}'; {name_hint(name, MAPS)}")
    out = MAPS[name](segments, layout)
    if not np.isfinite(out).all():
        row = int(np.flatnonzero(~np.isfinite(out).all(1))[0])
        raise DataError(
            f"task '{segments.task}': '{name}' features of segment {row} are not finite; drop that segment or "
            "record it again"
        )
    return out


def ranked(x: F64) -> F64:
    """Each column replaced by its ranks, evenly spread over -0.5..0.5: tasks differ in units, not in order."""
    return (rankdata(x, axis=0) - 0.5) / len(x) - 0.5


def distances(segments: Segmented, layout: ObservationLayout = METAWORLD) -> tuple[F64, F64, F64]:
    """(hand to object, object to goal, hand to goal), each (N, H) in metres; the hand is the object where the
    object is scenery.

    Raises DataError for observations too short for the layout.
    """
    width = segments.observations.shape[2]
    needed = max(layout.hand, layout.object, layout.goal) + 3
    if width < needed:
        raise DataError(
            f"task '{segments.task}': observations have {width} numbers, the layout (hand {layout.hand}, object "
            f"{layout.object}, goal {layout.goal}) needs {needed}; give this task's layout, or compare by 'raw' or "
            "'actions'"
        )
    x = segments.observations.astype(np.float64)
    hand, thing, goal = (x[:, :, k : k + 3] for k in (layout.hand, layout.object, layout.goal))
    hand_goal, object_goal = _length(hand - goal), _length(thing - goal)
    if (np.ptp(object_goal, axis=1) > _MOVED_M).mean() < _MOVED_SHARE:
        return np.zeros_like(hand_goal), hand_goal, hand_goal
    return _length(hand - thing), object_goal, hand_goal


def _length(x: F64) -> F64:
    return np.linalg.norm(x, axis=-1)


def _every(segments: Segmented) -> slice:
    return slice(None, None, -(-segments.observations.shape[1] // _FRAMES))


def _raw(segments: Segmented, layout: ObservationLayout) -> F64:
    frames = _every(segments)
    both = np.concatenate([segments.observations[:, frames], segments.actions[:, frames]], axis=2)
    return both.reshape(len(segments), -1).astype(np.float64)


def _relative(segments: Segmented, layout: ObservationLayout) -> F64:
    frames = _every(segments)
    return np.concatenate([d[:, frames] for d in distances(segments, layout)], axis=1)


def _progress(segments: Segmented, layout: ObservationLayout) -> F64:
    hand_object, object_goal, _ = distances(segments, layout)
    columns = (-object_goal.mean(1), object_goal[:, 0] - object_goal[:, -1], -hand_object.mean(1))
    return np.stack(columns, axis=1)


def _actions(segments: Segmented, layout: ObservationLayout) -> F64:
    a = segments.actions.astype(np.float64)
    change = np.abs(np.diff(a, axis=1)).mean((1, 2)) if a.shape[1] > 1 else np.zeros(len(a))
    return np.stack([-np.abs(a).mean((1, 2)), -change, -a[:, :, -1].std(1)], axis=1)


def _smoothness(segments: Segmented, layout: ObservationLayout) -> F64:
    return _actions(segments, layout)[:, [ACTION_NAMES.index(name) for name in SMOOTHNESS_NAMES]]


MAPS: dict[str, Callable[[Segmented, ObservationLayout], F64]] = {
    "raw": _raw,
    "relative": _relative,
    "progress": _progress,
    "actions": _actions,
    "smoothness": _smoothness,
}
