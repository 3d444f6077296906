"""Batches of one set and one head; which one serves a step follows from the seed and the step alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.t3.augment import Augmentation, augmented
from sinew_policies.t3.fota import Split, named_faults
from sinew_policies.t3.mixing import Order, Schedule, shares
from sinew_policies.t3.pose import LabelNorm
from sinew_policies.t3.preprocess import preprocess
from sinew_policies.t3.sets import DataSet
from sinew_policies.t3.tasks import (
    TASKS,
    class_id,
    pair_labels,
    pose,
    position_mm,
    rolled,
    variance,
)
from sinew_policies.t3.train_config import RECONSTRUCTION_HEAD, TrainConfig


@dataclass(frozen=True)
class Batch:
    sensor: str
    head: str
    images: Tensor  # (B, 3, P, P) normalised
    partner: Tensor | None = None  # (B,) int64, row of the second image of each pair
    target: Tensor | None = None  # (B,) class ids or (B, K) numbers as the head gives them
    noise: Tensor | None = None  # (B, N) decides which patches are dropped

    def to(self, device: torch.device) -> "Batch":
        moved = [None if t is None else t.to(device) for t in (self.partner, self.target, self.noise)]
        return Batch(self.sensor, self.head, self.images.to(device), *moved)


@dataclass(frozen=True)
class Source:
    """A set as training material of one head."""

    data: DataSet
    head: str

    @property
    def name(self) -> str:
        return f"{self.data.name}/{self.head}"

    @property
    def reconstructs(self) -> bool:
        return self.head == RECONSTRUCTION_HEAD

    @property
    def label_norm(self) -> LabelNorm:
        """Of pose labels; 3D poses are not normalised."""
        if TASKS[self.head].kind == "pose_6d":
            assert self.data.info.label_norm is not None
            return self.data.info.label_norm
        return LabelNorm.identity(3)


def sources_of(sets: Sequence[DataSet], config: TrainConfig) -> list[Source]:
    """Every pair of set and head to train. Raises ConfigError where there is none, or one asked for."""
    if config.stage == "pretrain":
        return [Source(s, RECONSTRUCTION_HEAD) for s in sets]
    found = [Source(s, task) for s in sets for task in s.info.tasks if config.tasks is None or task in config.tasks]
    missing = sorted(set(config.tasks or ()) - {source.head for source in found})
    if missing or not found:
        offered = sorted({task for s in sets for task in s.info.tasks})
        raise ConfigError(
            f"no set has labels for {', '.join(missing) or 'any task'}; the sets of {config.data} have: "
            f"{', '.join(offered) or '(none)'}"
        )
    return found


class Batches(Dataset[Batch]):
    """Batch of step s for one process: a pure function of seed, step and process.

    Together the processes have the images that one would have. Pose pairs stay within a share, so that each image
    is read and encoded once: N processes learn from other pairs than one.
    """

    def __init__(self, sources: Sequence[Source], config: TrainConfig, image_px: int, n_patches: int, rank: int):
        self._sources, self._config, self._image_px, self._n_patches = tuple(sources), config, image_px, n_patches
        share = config.batch // config.processes
        self._mine = slice(rank * share, (rank + 1) * share)
        self._orders = [Order(_shard_sizes(s, config), config.batch, config.seed, s.name) for s in sources]
        self.shares = shares([order.n_batches for order in self._orders], config.mix)
        self._schedule = Schedule(self.shares, config.seed)

    def __getitem__(self, step: int) -> Batch:
        number, turn = self._schedule.at(step)
        source = self._sources[number]
        chosen = self._orders[number].indices(turn)[self._mine]
        split = source.data.splits["train"]
        # A stream per place in the whole batch: views do not depend on how many processes share it.
        places = range(self._mine.start, self._mine.stop)
        rngs = [stream(self._config.seed, "view", step, place) for place in places]
        if source.reconstructs or not TASKS[source.head].paired:
            images, labels = random_views(source, split, chosen, self._image_px, rngs)
        else:
            images, labels = plain_images(source, split, chosen, self._image_px)
        if source.reconstructs:
            noise = torch.from_numpy(np.stack([rng.random(self._n_patches, np.float32) for rng in rngs]))
            return Batch(source.data.info.sensor, source.head, images, noise=noise)
        offset = int(stream(self._config.seed, "pairs", step).integers(0, len(chosen)))
        return labelled(source, images, labels, [split.name(int(i)) for i in chosen], offset)


def validation_batches(source: Source, config: TrainConfig, image_px: int, n_patches: int) -> Iterator[Batch]:
    """The first batches of the validation split, the same every time; partners are never the image itself.

    Reconstruction is asked for views like those of training: plain frames of a clean gel are mostly sensor noise,
    which normalised patches make as large as any imprint and nothing can predict.
    """
    split = source.data.splits.get("val", source.data.splits["train"])
    size = min(config.batch, len(split))
    for number in range(min(config.validation_batches, len(split) // size)):
        chosen = np.arange(number * size, (number + 1) * size)
        rng = stream(config.seed, "validation", source.name, number)
        if source.reconstructs:
            rngs = [stream(config.seed, "validation view", source.name, int(i)) for i in chosen]
            images, _ = random_views(source, split, chosen, image_px, rngs)
            noise = torch.from_numpy(rng.random((size, n_patches), np.float32))
            yield Batch(source.data.info.sensor, source.head, images, noise=noise)
        else:
            images, labels = plain_images(source, split, chosen, image_px)
            offset = int(rng.integers(1, size)) if size > 1 else 0
            yield labelled(source, images, labels, [split.name(int(i)) for i in chosen], offset)


def random_views(
    source: Source,
    split: Split,
    chosen: NDArray[np.int64],
    image_px: int,
    rngs: Sequence[np.random.Generator],
) -> tuple[Tensor, list[dict[str, object]]]:
    """Augmented images. Sets that must not be cropped are only jittered, and that in reconstruction only;
    image variance is of the whole frame as it is, so its images are plain, too.
    """
    how, info = source.data.preprocessing(image_px), source.data.info
    whole = not info.crop_and_flip or source.head == "variance_estimation"
    augmentation = Augmentation(crop=not whole, flip=not whole)
    if not source.reconstructs:
        augmentation = replace(augmentation, area=info.crop_area)
    views, labels = [], []
    for index, rng in zip(chosen, rngs, strict=True):
        sample = split[int(index)]
        with named_faults(split.name(int(index))):
            if whole and not source.reconstructs:
                views.append(preprocess(sample.image, how))
            else:
                views.append(augmented(sample.image, how, augmentation, rng))
        labels.append(dict(sample.labels))
    return torch.from_numpy(np.stack(views)), labels


def plain_images(
    source: Source, split: Split, chosen: NDArray[np.int64], image_px: int
) -> tuple[Tensor, list[dict[str, object]]]:
    how = source.data.preprocessing(image_px)
    images, labels = [], []
    for index in chosen:
        sample = split[int(index)]
        with named_faults(split.name(int(index))):
            images.append(preprocess(sample.image, how))
        labels.append(dict(sample.labels))
    return torch.from_numpy(np.stack(images)), labels


def labelled(
    source: Source, images: Tensor, labels: Sequence[dict[str, object]], names: Sequence[str], offset: int
) -> Batch:
    """A batch with the head's targets; pairs are the batch and itself rolled by `offset`."""
    sensor, head, kind = source.data.info.sensor, source.head, TASKS[source.head].kind
    if kind == "class":
        ids = [class_id(head, f, n, source.data.info.classes) for f, n in zip(labels, names, strict=True)]
        return Batch(sensor, head, images, target=torch.tensor(ids, dtype=torch.int64))
    if kind == "variance":
        values = [[variance(f, n)] for f, n in zip(labels, names, strict=True)]
        return Batch(sensor, head, images, target=torch.tensor(values, dtype=torch.float32))
    read = pose if kind == "pose_6d" else position_mm
    places: F64 = np.stack([read(f, n) for f, n in zip(labels, names, strict=True)])
    partner = rolled(len(places), offset)
    target = source.label_norm.normalise(pair_labels(kind, places, places[partner]))
    return Batch(sensor, head, images, torch.from_numpy(partner), torch.from_numpy(target.astype(np.float32)))


def _shard_sizes(source: Source, config: TrainConfig) -> list[int]:
    sizes = [len(shard) for shard in source.data.splits["train"].shards]
    if config.limit_samples is None:
        return sizes
    kept: list[int] = []
    for size in sizes:
        kept.append(min(size, config.limit_samples - sum(kept)))
    return [size for size in kept if size > 0]
