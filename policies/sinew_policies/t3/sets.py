"""Data sets on disk: which sensor made them, what can be learnt from them, how they are normalised.

A set is a folder in FoTa's layout. What its shards do not say stands in a `set.yaml` beside `train` and `val`;
published sets without that file are known by the name of their folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sinew_policies.common import config as config_files
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.t3.device_statistics import DeviceStatistics
from sinew_policies.t3.fota import Split, named_faults, open_split
from sinew_policies.t3.pose import LabelNorm
from sinew_policies.t3.preprocess import NORMALISATIONS, Normalisation, Preprocessing
from sinew_policies.t3.tasks import NO_CONTACT, TASKS, pair_labels, pose, rolled, task_of

SET_FILE = "set.yaml"

_STATISTICS_IMAGES = 50
_STATISTICS_PAIRS = 4000


@dataclass(frozen=True)
class SetInfo:
    """`label_norm` (of 6D poses), `normalisation` and `classes` are measured on the training split where absent."""

    sensor: str  # whose encoder its images go through
    tasks: tuple[str, ...] = ()  # heads that its labels suffice for, besides reconstruction
    normalisation: Normalisation | None = None
    label_norm: LabelNorm | None = None
    classes: tuple[str, ...] = ()  # names of classes in the order of their ids, where samples store names
    channel_order: str = "rgb"
    frame_px: tuple[int, int] | None = None  # height and width of every image; none: any
    crop_and_flip: bool = True  # in augmentation
    crop_area: tuple[float, float] = (0.08, 1.0)  # share of the image that crops of labelled classes keep
    source: str = ""  # what made the set

    def __post_init__(self) -> None:
        for task in self.tasks:
            task_of(task)
        if not 0.0 < self.crop_area[0] <= self.crop_area[1] <= 1.0:
            raise ConfigError(
                f"crop_area is {self.crop_area}; expected shares of the image, 0 < least <= most <= 1"
            )


@dataclass(frozen=True)
class DataSet:
    name: str
    info: SetInfo  # with everything measured
    splits: dict[str, Split] = field(compare=False)

    def preprocessing(self, image_px: int) -> Preprocessing:
        """Resized to 8/7 of the crop (256 for 224), as published."""
        assert self.info.normalisation is not None
        return Preprocessing(
            self.info.normalisation, self.info.channel_order, image_px * 8 // 7, image_px, self.info.frame_px
        )


def open_sets(folder: Path, names: Sequence[str] | None = None, *, seed: int = 0) -> list[DataSet]:
    """All sets below `folder`, or the named ones, in name order.

    Raises DataError for damaged shards and ConfigError for sets that are unknown or not described.
    """
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; make one with `sinew datagen touch --out {folder}`")
    there = sorted(p.name for p in folder.iterdir() if (p / "train").is_dir())
    unknown = sorted(set(names or ()) - set(there))
    if unknown or not there:
        raise ConfigError(
            f"{folder} has no set {', '.join(unknown) or '(a folder with train and val)'}; it holds: "
            f"{', '.join(there) or '(none)'}"
        )
    return [open_set(folder / name, seed=seed) for name in there if names is None or name in names]


def open_set(folder: Path, *, seed: int = 0) -> DataSet:
    """Both splits, checked, and the set's description with what is absent measured; faults as `open_sets`."""
    info = read_info(folder)
    splits = {"train": open_split(folder / "train")}
    if (folder / "val").is_dir():
        splits["val"] = open_split(folder / "val")
    train = splits["train"]
    if info.normalisation is None:
        info = replace(info, normalisation=measured_normalisation(train, info))
    if "cls_calandra17" in info.tasks and not info.classes:
        info = replace(info, classes=_class_names(train))
    if info.label_norm is None and any(TASKS[t].kind == "pose_6d" for t in info.tasks):
        info = replace(info, label_norm=measured_label_norm(train, seed))
    return DataSet(folder.name, info, splits)


def read_info(folder: Path) -> SetInfo:
    """From set.yaml, else by the folder's name."""
    file = folder / SET_FILE
    if file.is_file():
        return config_files.load(SetInfo, file)
    known = _published(folder.name)
    if known is None:
        raise ConfigError(
            f"set '{folder.name}' is none of the published, and {file} does not exist; write it, with at least "
            "'sensor: <encoder>' and 'tasks: [<head>, …]'"
        )
    return known


def write_info(folder: Path, info: SetInfo) -> None:
    partial = folder / f".{SET_FILE}.partial"
    config_files.save(info, partial)
    partial.replace(folder / SET_FILE)


def measured_normalisation(train: Split, info: SetInfo) -> Normalisation:
    """Colour statistics of evenly spread training images."""
    chosen = np.unique(np.linspace(0, len(train) - 1, _STATISTICS_IMAGES).astype(np.int64))
    unit = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    statistics = DeviceStatistics(Preprocessing(unit, info.channel_order, frame_px=info.frame_px))
    for index in chosen:
        image = train[int(index)].image
        with named_faults(train.name(int(index))):
            statistics.add(image)
    return statistics.normalisation()


def measured_label_norm(train: Split, seed: int) -> LabelNorm:
    """Statistics of 6D labels over random pairs of training samples."""
    rng = stream(seed, "label_norm", train.folder.parent.name)
    chosen = rng.permutation(len(train))[:_STATISTICS_PAIRS]
    poses = np.stack([pose(train.labels(int(i)), train.name(int(i))) for i in chosen])
    partner = rolled(len(poses), int(rng.integers(1, max(2, len(poses)))))
    return LabelNorm.of(pair_labels("pose_6d", poses, poses[partner]))


def _class_names(train: Split) -> tuple[str, ...]:
    names = {str(train.labels(i).get("object_name", NO_CONTACT)) for i in range(len(train))}
    return (NO_CONTACT, *sorted(names - {NO_CONTACT}))


def _published(name: str) -> SetInfo | None:
    """A set of the published collection, by the name of its folder."""
    normalisation = NORMALISATIONS.get(name)
    if name in _PUBLISHED:
        sensor, tasks = _PUBLISHED[name]
        return SetInfo(sensor, tasks, normalisation, crop_and_flip=name != "visgel")
    if name.startswith("panda_warped"):
        sensor = next((s for s in ("mini", "wedge", "digit") if s in name), "")
        if sensor:
            labelled = "unlabel" not in name
            # The unlabelled captures are stored with red and blue exchanged.
            return SetInfo(
                sensor,
                (f"pose_estimation_6d_{sensor}",) if labelled else (),
                channel_order="rgb" if labelled else "bgr",
            )
    return None


_PUBLISHED: dict[str, tuple[str, tuple[str, ...]]] = {
    "visgel": ("gs_green", ("variance_estimation",)),
    "tvl": ("digit", ()),
    "touch_and_go": ("gs_tag", ("cls_touch_and_go",)),
    "calandra17": ("gs_green", ("cls_calandra17",)),
    "yuan18": ("gs_green", ("cls_yuan18_textile_type", "cls_yuan18_smoothness", "cls_yuan18_fuzziness")),
    "ycb_sim": ("gs_green", ()),
    "objectfolder": ("gs_black", ("cls_objectfolder",)),
    "tippur23_cylv0": ("gs_360_v2", ()),
    "tippur23_cylv1": ("gs_360_v2", ()),
    "cnc_Finray": ("finray", ("cls_cnc", "pose_estimation_3d")),
    "cnc_Finray2": ("finray", ("cls_cnc", "pose_estimation_3d")),
    "cnc_Wedge": ("wedge", ("cls_cnc", "pose_estimation_3d")),
    "cnc_Mini": ("mini", ("cls_cnc", "pose_estimation_3d")),
    "cnc_Svelte": ("svelte", ("cls_cnc", "pose_estimation_3d")),
    "cnc_DenseTact": ("densetact", ("cls_cnc", "pose_estimation_3d")),
}
