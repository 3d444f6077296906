"""Goal embeddings of one scene on disk: `<scene>.npy` and `<scene>.angle.npy`.

`<scene>.npy` holds float16 (episodes, views, D), D = 1024; `<scene>.angle.npy` float32 (episodes, views, 2),
yaw about y and pitch about x of each view in radians.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F32, F64
from sinew_policies.psl.goal_views import CLIP_LOGIT_SCALE, KEPT_VIEWS, select_views, view_entropy

F16 = NDArray[np.float16]

_EPISODES = 256  # compared at once


@dataclass(frozen=True)
class GoalViews:
    embeddings: F16  # (episodes, views, D)
    angles_rad: F32  # (episodes, views, 2) yaw about y, pitch about x

    def __post_init__(self) -> None:
        e, a = self.embeddings, self.angles_rad
        if e.ndim != 3 or 0 in e.shape:
            raise DataError(f"goal embeddings have shape {e.shape}; expected (episodes, views, D)")
        if a.shape != (*e.shape[:2], 2):
            raise DataError(
                f"goal angles have shape {a.shape}; expected {(*e.shape[:2], 2)}: yaw and pitch of each view"
            )
        for what, values in (("embeddings", e), ("angles", a)):
            if not np.isfinite(values).all():
                raise DataError(f"goal {what} hold NaN or infinite values; render and embed those views again")

    def clearest(self, prompts: ArrayLike, k: int = KEPT_VIEWS, tau: float = CLIP_LOGIT_SCALE) -> "GoalViews":
        """Of these candidates the k of each episode that most clearly show one of the prompts (C, D), best first.

        Raises ConfigError and DataError as `view_entropy` and `select_views`.
        """
        e = self.embeddings
        entropy = [view_entropy(e[i : i + _EPISODES], prompts, tau) for i in range(0, len(e), _EPISODES)]
        kept = select_views(np.concatenate(entropy), k)[..., None]
        return GoalViews(np.take_along_axis(e, kept, 1), np.take_along_axis(self.angles_rad, kept, 1))

    def rotation(self, episode: int, view: int) -> F64:
        """Quaternion xyzw of a view: yaw about y, then pitch about the turned x axis (x right, y up, -z ahead)."""
        yaw, pitch = (0.5 * float(a) for a in self.angles_rad[episode, view])
        return np.array(
            [
                np.cos(yaw) * np.sin(pitch),
                np.sin(yaw) * np.cos(pitch),
                -np.sin(yaw) * np.sin(pitch),
                np.cos(yaw) * np.cos(pitch),
            ]
        )


def save_goal_views(folder: Path, scene: str, views: GoalViews) -> None:
    """Writes both files of `scene`, the embeddings last; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{scene}.angle.npy", views.angles_rad), (f"{scene}.npy", views.embeddings)):
        partial = folder / f".{name}.{os.getpid()}"
        with partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        partial.replace(folder / name)


def load_goal_views(folder: Path, scene: str) -> GoalViews:
    """Raises DataError for a missing, damaged or pickled file and for shapes that do not belong together."""
    return GoalViews(
        read_array(folder / f"{scene}.npy").astype(np.float16, copy=False),
        read_array(folder / f"{scene}.angle.npy").astype(np.float32, copy=False),
    )


def read_array(path: Path) -> np.ndarray:
    """A numeric array of a .npy file. Raises DataError for a missing, damaged or pickled file."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as fault:
        raise DataError(f"{path} does not exist; make it before, or correct the path") from fault
    except Exception as fault:  # a damaged header reaches numpy's parsers of Python, zip and pickle files
        raise DataError(
            f"{path} is not a whole numeric .npy file ({fault}); make it again. Pickled objects are never read"
        ) from fault
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise DataError(f"{path} holds {getattr(array, 'dtype', type(array))}; expected floating point numbers")
    return array
