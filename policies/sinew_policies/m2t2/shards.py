"""Training scenes on disk: one `.npz` shard holds S scenes as fixed-size arrays, no pickled objects.

File name `scenes_<first scene id, 7 digits>.npz`. Arrays, with S scenes of N points each (N equal for all):

    xyz           (S, N, 3) float32  metres, base_link (z = 0 is the table top), cropped to the workspace,
                                     robot removed, noise as the camera gives it; float16 is accepted
    object        (S, N)    int16    object the point belongs to, 0.. within the scene, TABLE (-1) otherwise
    label         (S, N)    int16    object id where the point is the contact of a good grasp,
                                     NO_GRASP (-1) where it is none, UNKNOWN (-2) where nobody tested
    contact_dir   (S, N, 3) float16  unit, from this contact towards the opposite one; 0 where label < 0
    approach_dir  (S, N, 3) float16  unit, direction in which the hand moves in; 0 where label < 0
    width         (S, N)    float16  metres between the two contacts; 0 where label < 0
    scene_id      (S,)      int64    unique within a data set
    seed          (S,)      int64    seed that made the scene

A good grasp succeeded in physics and collides with nothing; its contact lies within 6 mm of the point.
UNKNOWN points are left out of the mask losses. A scene with fewer than N points repeats some of them.
The N points of a scene are drawn by `sampling.choose_points`, which keeps table points from filling it.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F32

TABLE = -1
NO_GRASP = -1
UNKNOWN = -2

_DTYPES: dict[str, type[np.generic]] = {
    "xyz": np.float32,
    "object": np.int16,
    "label": np.int16,
    "contact_dir": np.float16,
    "approach_dir": np.float16,
    "width": np.float16,
    "scene_id": np.int64,
    "seed": np.int64,
}


@dataclass(frozen=True)
class TrainingScene:
    """One scene; arrays as the module docstring says, without the leading S."""

    xyz: F32  # (N, 3) metres, base_link
    object: NDArray[np.int16]  # (N,)
    label: NDArray[np.int16]  # (N,)
    contact_dir: F32 | NDArray[np.float16]  # (N, 3)
    approach_dir: F32 | NDArray[np.float16]  # (N, 3)
    width_m: F32  # (N,)
    scene_id: int
    seed: int


def write_shard(folder: Path, scenes: Sequence[TrainingScene]) -> Path:
    """Write the scenes as one shard, atomically, and return its path.

    Raises DataError when the scenes are empty, differ in size or break a rule of the format.
    """
    if not scenes:
        raise DataError("cannot write a shard of 0 scenes; expected at least one")
    for scene in scenes:
        check_scene(scene, n_points=len(scenes[0].xyz))
    columns: dict[str, NDArray[np.generic]] = {
        "xyz": np.stack([s.xyz for s in scenes]).astype(np.float32),
        "object": np.stack([s.object for s in scenes]).astype(np.int16),
        "label": np.stack([s.label for s in scenes]).astype(np.int16),
        "contact_dir": np.stack([s.contact_dir for s in scenes]).astype(np.float16),
        "approach_dir": np.stack([s.approach_dir for s in scenes]).astype(np.float16),
        "width": np.stack([s.width_m for s in scenes]).astype(np.float16),
        "scene_id": np.array([s.scene_id for s in scenes], np.int64),
        "seed": np.array([s.seed for s in scenes], np.int64),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scenes_{scenes[0].scene_id:07d}.npz"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)
    partial.replace(path)
    return path


def read_shard(path: Path) -> list[TrainingScene]:
    """The scenes of one shard. Raises DataError naming the file and what is wrong with it."""
    try:
        with np.load(path, allow_pickle=False) as data:
            missing = sorted(set(_DTYPES) - set(data.files))
            if missing:
                raise DataError(f"shard {path} lacks the arrays {missing}; expected {sorted(_DTYPES)}")
            arrays = {name: data[name] for name in _DTYPES}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as fault:
        raise DataError(
            f"shard {path} cannot be read ({fault}); delete it and let `sinew datagen grasp` make it again"
        ) from fault
    n = len(arrays["xyz"])
    if any(len(a) != n for a in arrays.values()):
        raise DataError(f"shard {path}: arrays disagree about the number of scenes; delete and make it again")
    points = arrays["object"].shape
    for name in ("xyz", "contact_dir", "approach_dir", "label", "width"):
        expected = (*points, 3) if name in ("xyz", "contact_dir", "approach_dir") else points
        if len(points) != 2 or arrays[name].shape != expected or arrays[name].dtype.kind not in "fiu":
            raise DataError(
                f"shard {path}: {name} is {arrays[name].dtype} of shape {arrays[name].shape}, expected numbers of "
                f"shape {expected}; delete it and let `sinew datagen grasp` make it again"
            )
    if not np.isfinite(arrays["xyz"]).all():
        raise DataError(f"shard {path}: xyz has NaN or infinite coordinates; delete the file and make it again")
    # Whole-array casts once per shard; the scenes are views.
    f32 = {k: arrays[k].astype(np.float32) for k in ("xyz", "contact_dir", "approach_dir", "width")}
    return [
        TrainingScene(
            xyz=f32["xyz"][i],
            object=arrays["object"][i].astype(np.int16),
            label=arrays["label"][i].astype(np.int16),
            contact_dir=f32["contact_dir"][i],
            approach_dir=f32["approach_dir"][i],
            width_m=f32["width"][i],
            scene_id=int(arrays["scene_id"][i]),
            seed=int(arrays["seed"][i]),
        )
        for i in range(n)
    ]


def shard_paths(folder: Path) -> list[Path]:
    """Shards of a data set in name order. Raises DataError when there is none."""
    paths = sorted(folder.glob("scenes_*.npz"))
    if not paths:
        raise DataError(
            f"no training scenes (scenes_*.npz) in {folder}; make some: `sinew datagen grasp --out {folder}`"
        )
    return paths


def read_all(folder: Path) -> Iterator[TrainingScene]:
    for path in shard_paths(folder):
        yield from read_shard(path)


def check_scene(scene: TrainingScene, *, n_points: int) -> None:
    """Raises DataError naming the first broken rule."""
    name = f"scene {scene.scene_id}"
    shapes = {
        "xyz": (scene.xyz.shape, (n_points, 3)),
        "object": (scene.object.shape, (n_points,)),
        "label": (scene.label.shape, (n_points,)),
        "contact_dir": (scene.contact_dir.shape, (n_points, 3)),
        "approach_dir": (scene.approach_dir.shape, (n_points, 3)),
        "width": (scene.width_m.shape, (n_points,)),
    }
    for array, (shape, expected) in shapes.items():
        if shape != expected:
            raise DataError(f"{name}: {array} has shape {shape}, expected {expected}")
    if not np.isfinite(scene.xyz).all():
        raise DataError(f"{name}: xyz has NaN or infinite coordinates; drop those points first")
    good = scene.label >= 0
    if (scene.label < UNKNOWN).any():
        raise DataError(f"{name}: label {scene.label.min()} is below UNKNOWN ({UNKNOWN})")
    if good.any():
        for array, vectors in (("contact_dir", scene.contact_dir), ("approach_dir", scene.approach_dir)):
            error = np.abs(np.linalg.norm(vectors[good].astype(np.float64), axis=1) - 1.0).max()
            if not error < 0.01:
                raise DataError(f"{name}: {array} at a grasp contact is off unit length by {error:.3g}")
        width = scene.width_m[good]
        if not (np.isfinite(width).all() and (width >= 0).all() and (width <= 0.1).all()):
            raise DataError(f"{name}: width outside 0..0.1 m at a grasp contact")
