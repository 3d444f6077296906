"""Training scenes in memory, their augmentation, and batches for the network."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F32
from sinew_policies.m2t2.actions import grasp_poses
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.neighbours import scene_neighbours
from sinew_policies.m2t2.network import SceneInput
from sinew_policies.m2t2.sampling import choose_points
from sinew_policies.m2t2.shards import UNKNOWN, TrainingScene, read_all
from sinew_policies.m2t2.targets import ContactLabels, Targets

HEIGHT_SCALE_M = 0.1
"""Height over the table that makes a height feature of 1."""

T = TypeVar("T")

_BLOCK = 12  # ids; a multiple of the usual numbers of views
_MIN_POINTS_PER_OBJECT = 3
_MAX_GRASPS = 256  # per scene, for ADD-S


@dataclass(frozen=True)
class Augmentation:
    yaw: bool = True  # any angle about the vertical
    mirror: bool = True
    jitter_m: float = 0.0006  # standard deviation per coordinate
    height_m: float = 0.002  # standard deviation of the whole cloud's height
    tilt_rad: float = 0.015  # standard deviation of a rotation about a horizontal axis

    @staticmethod
    def none() -> "Augmentation":
        return Augmentation(False, False, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Sample:
    """One scene as the network and the losses take it, without batch axis."""

    points: F32  # (N, 3) metres
    label: NDArray[np.int64]  # (N,) mask row, -1 none, -2 unknown
    n_objects: int
    contact_dir: F32  # (N, 3)
    approach_dir: F32  # (N, 3)
    width_m: F32  # (N,)
    grasps: Tensor  # (G, 4, 4)
    grasp_object: Tensor  # (G,) object id


def load(
    folder: Path, *, validation_every: int = 20, limit: int | None = None
) -> tuple[list[TrainingScene], list[TrainingScene]]:
    """Training and validation scenes; every `validation_every`-th block of ids is for validation, so that
    several views of one scene stay on one side.

    Scenes without any grasp are left out. Raises DataError when nothing remains.
    """
    train: list[TrainingScene] = []
    validation: list[TrainingScene] = []
    for scene in read_all(folder):
        if (scene.label >= 0).any():
            (validation if scene.scene_id // _BLOCK % validation_every == validation_every - 1 else train).append(
                _compact(scene)
            )
        if limit is not None and len(train) >= limit:
            break
    if not train:
        raise DataError(f"no scene in {folder} has a good grasp; make more with `sinew datagen grasp`")
    return train, validation or train[: max(1, len(train) // validation_every)]


def make_sample(
    scene: TrainingScene, config: M2T2Config, augmentation: Augmentation, rng: np.random.Generator
) -> Sample:
    """A random subset of the scene's points, randomly moved; labels move with them."""
    R, shift = _random_motion(augmentation, rng)
    # Turned about the workspace's vertical axis only in effect: the network subtracts the mean anyway.
    centre = np.array([*scene.xyz[:, :2].mean(0), 0.0], np.float32)
    idx = choose_points(scene.xyz, config.n_points, rng, table_share=config.table_share)
    points: F32 = ((scene.xyz[idx] - centre) @ R.T + shift).astype(np.float32)
    if augmentation.jitter_m:
        points = (points + rng.normal(0.0, augmentation.jitter_m, points.shape)).astype(np.float32)
    contact_dir: F32 = scene.contact_dir[idx].astype(np.float32) @ R.T
    approach_dir: F32 = scene.approach_dir[idx].astype(np.float32) @ R.T

    label = scene.label[idx].astype(np.int64)
    ids, rows, counts = np.unique(label, return_inverse=True, return_counts=True)
    kept = (ids >= 0) & (counts >= _MIN_POINTS_PER_OBJECT)
    row_of = np.where(ids < 0, ids, UNKNOWN)  # too small a remainder of an object says nothing
    row_of[kept] = np.arange(kept.sum())

    every = np.flatnonzero(scene.label >= 0)
    every = every[np.linspace(0, len(every) - 1, min(len(every), _MAX_GRASPS)).astype(np.int64)]
    grasps = grasp_poses(
        torch.from_numpy((scene.xyz[every] - centre) @ R.T + shift),
        torch.from_numpy(scene.contact_dir[every].astype(np.float32) @ R.T),
        torch.from_numpy(scene.approach_dir[every].astype(np.float32) @ R.T),
        torch.from_numpy(scene.width_m[every].astype(np.float32)),
        config.gripper_depth_m,
    )
    return Sample(
        points,
        row_of[rows],
        int(kept.sum()),
        contact_dir,
        approach_dir,
        scene.width_m[idx].astype(np.float32),
        grasps,
        torch.from_numpy(scene.label[every].astype(np.int64)),
    )


def network_input(points: Tensor, config: M2T2Config, centre: Tensor | None = None) -> SceneInput:
    """Points (B, N, 3), metres over the table, as the network takes them; `centre` (B, 3) defaults to the mean."""
    xyz = points - (points.mean(1) if centre is None else centre)[:, None]
    features = None
    if config.use_height:
        features = (points[..., 2:] / HEIGHT_SCALE_M).clamp(-1.0, 5.0)
    return SceneInput(xyz.contiguous(), features, neighbours=scene_neighbours(xyz.contiguous(), config))


def collate(samples: Sequence[Sample], config: M2T2Config) -> tuple[SceneInput, Targets]:
    """One batch with its neighbour indices and targets."""
    points = torch.from_numpy(np.stack([s.points for s in samples]))
    label = torch.from_numpy(np.stack([s.label for s in samples]))
    n_objects = [s.n_objects for s in samples]
    rows = torch.arange(max(1, *n_objects))
    masks = (label[:, None] == rows[:, None]).float()
    unknown = label == UNKNOWN
    stacked = {
        name: torch.from_numpy(np.stack([getattr(s, name) for s in samples]))
        for name in ("contact_dir", "approach_dir", "width_m")
    }
    scene, point = torch.nonzero(label >= 0, as_tuple=True)
    obj = label[scene, point]
    order = torch.argsort(scene * (len(rows) + 1) + obj, stable=True)
    scene, point, obj = scene[order], point[order], obj[order]
    labels = ContactLabels(scene, obj, point, *(stacked[k][scene, point] for k in stacked))
    targets = Targets(
        masks,
        n_objects,
        labels,
        [s.grasps for s in samples],
        [s.grasp_object for s in samples],
        points,
        known=(~unknown).float() if bool(unknown.any()) else None,
    )
    return network_input(points, config), targets


def to_device(value: T, device: torch.device) -> T:
    """A dataclass, tuple, list or tensor with every tensor on `device`."""
    return cast(T, _moved(value, device))


def _moved(value: object, device: torch.device) -> object:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple):
        return tuple(_moved(v, device) for v in value)
    if isinstance(value, list):
        return [_moved(v, device) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _moved(getattr(value, f.name), device) for f in fields(value)})
    return value


def _random_motion(augmentation: Augmentation, rng: np.random.Generator) -> tuple[F32, F32]:
    """Rotation (possibly with a mirror) and shift (3,), about the scene's middle on the table."""
    yaw = rng.uniform(0.0, 2 * np.pi) if augmentation.yaw else 0.0
    c, s = np.cos(yaw), np.sin(yaw)
    R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    if augmentation.mirror and rng.random() < 0.5:
        R = R @ np.diag([1.0, -1.0, 1.0])
    if augmentation.tilt_rad:
        a, b = rng.normal(0.0, augmentation.tilt_rad, 2)
        tilt, _ = np.linalg.qr(np.array([[1.0, 0.0, b], [0.0, 1.0, -a], [-b, a, 1.0]]))
        tilt *= np.sign(np.diag(tilt))
        R = tilt @ R
    shift = np.array([0.0, 0.0, rng.normal(0.0, augmentation.height_m) if augmentation.height_m else 0.0])
    return R.astype(np.float32), shift.astype(np.float32)


def _compact(scene: TrainingScene) -> TrainingScene:
    """Directions as float16: they fill most of the memory."""
    return TrainingScene(
        scene.xyz.copy(),
        scene.object.copy(),
        scene.label.copy(),
        scene.contact_dir.astype(np.float16),
        scene.approach_dir.astype(np.float16),
        scene.width_m.copy(),
        scene.scene_id,
        scene.seed,
    )
