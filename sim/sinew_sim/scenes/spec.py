"""What a scene is asked to be, and which objects take part."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_sim.objects.generator import Split, test_pool, train_pool
from sinew_sim.objects.model import ObjectModel

SceneKind = Literal["packed", "pile"]

# Sizes of VGN's object sets.
TRAIN_OBJECTS = 303
TEST_OBJECTS = 40
_LARGEST_M = 0.24  # a longer object does not lie inside the 30 cm workspace with others


@dataclass(frozen=True)
class SceneSpec:
    """ConfigError at construction when a value makes no sense."""

    kind: SceneKind
    seed: int
    n_objects: int = 5
    split: Split = "train"
    objects_dir: Path | None = None  # meshes instead of generated objects

    def __post_init__(self) -> None:
        if self.kind not in get_args(SceneKind):
            raise ConfigError(f"unknown scene kind '{self.kind}'; {name_hint(self.kind, get_args(SceneKind))}")
        if self.split not in get_args(Split):
            raise ConfigError(f"unknown split '{self.split}'; {name_hint(self.split, get_args(Split))}")
        if not 1 <= self.n_objects <= 12:
            raise ConfigError(f"{self.n_objects} objects asked for; the 30 cm workspace takes 1 to 12")


@dataclass(frozen=True, eq=False)
class SettledScene:
    spec: SceneSpec
    objects: tuple[ObjectModel, ...]
    poses: F64  # (n, 7) xyz in base_link and MuJoCo's quaternion wxyz, at rest


def object_pool(spec: SceneSpec) -> tuple[ObjectModel, ...]:
    """The objects that `spec` may draw from: its folder's, else the generated ones of its split.

    MeshError when the folder holds no usable mesh.
    """
    if spec.objects_dir is not None:
        return _folder_pool(Path(spec.objects_dir))
    return _generated_pool(spec.split)


def choose_objects(spec: SceneSpec, pool: Sequence[ObjectModel]) -> tuple[ObjectModel, ...]:
    """Draws the scene's objects, all different where the pool allows; ConfigError if none is small enough."""
    fitting = [o for o in pool if float(np.linalg.norm(np.ptp(o.hull_points, axis=0))) <= _LARGEST_M * 1.25]
    fitting = [o for o in fitting if float(o.extents_m.max()) <= _LARGEST_M]
    if not fitting:
        raise ConfigError(
            f"none of the {len(pool)} objects fits the 30 cm workspace; use objects up to {_LARGEST_M} m long"
        )
    rng = stream(spec.seed, "objects", spec.kind)
    repeat = spec.n_objects > len(fitting)
    return tuple(fitting[i] for i in rng.choice(len(fitting), spec.n_objects, replace=repeat))


@lru_cache(maxsize=2)
def _generated_pool(split: Split) -> tuple[ObjectModel, ...]:
    return tuple(train_pool(0, TRAIN_OBJECTS) if split == "train" else test_pool(0, TEST_OBJECTS))


@lru_cache(maxsize=4)
def _folder_pool(folder: Path) -> tuple[ObjectModel, ...]:
    from sinew_sim.objects.mesh_folder import load_folder

    return tuple(load_folder(folder)[0])
