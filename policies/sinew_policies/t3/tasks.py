"""What each head learns from the JSON fields of a sample: class ids, image variance, relative poses.

Field names, offsets and the misspelling are those of the published data.
"""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F64
from sinew_policies.t3.config import PUBLISHED_HEADS
from sinew_policies.t3.losses import LossKind
from sinew_policies.t3.pose import delta_d9

Labels = Mapping[str, object]
TaskKind = Literal["class", "variance", "pose_6d", "pose_3d"]


@dataclass(frozen=True)
class Task:
    kind: TaskKind
    fields: tuple[str, ...]  # names under which a class id may be stored, in order
    offset: int = 0  # of class ids

    @property
    def paired(self) -> bool:
        return self.kind in ("pose_6d", "pose_3d")

    @property
    def loss(self) -> LossKind:
        match self.kind:
            case "class":
                return "cross_entropy"
            case "variance":
                return "sqrt_mse_fifth"
            case "pose_6d" | "pose_3d":
                return "mse"
            case _:
                assert_never(self.kind)


TASKS: dict[str, Task] = {
    "cls_touch_and_go": Task("class", ("contact_class",), offset=2),  # no contact is stored as -2
    "cls_calandra17": Task("class", ("object_name",)),
    "cls_yuan18_textile_type": Task("class", ("textile_type", "taxtile_type")),
    "cls_yuan18_smoothness": Task("class", ("smoothness",)),
    "cls_yuan18_fuzziness": Task("class", ("fuzziness",)),
    "cls_objectfolder": Task("class", ("material_idx",)),
    "cls_cnc": Task("class", ("obj_idx",)),
    "variance_estimation": Task("variance", ("vars",)),
    "pose_estimation_6d_mini": Task("pose_6d", ()),
    "pose_estimation_6d_wedge": Task("pose_6d", ()),
    "pose_estimation_6d_digit": Task("pose_6d", ()),
    "pose_estimation_3d": Task("pose_3d", ()),
}
NO_CONTACT = "no_contact"


def task_of(name: str) -> Task:
    """Raises ConfigError for a head without labels."""
    if name not in TASKS:
        raise ConfigError(f"unknown task '{name}'; {name_hint(name, TASKS)}")
    return TASKS[name]


def class_id(name: str, labels: Labels, sample: str, classes: Sequence[str] = ()) -> int:
    """Class id of a sample for the head `name`; `classes` are the ids' names where names are stored.

    Raises DataError naming `sample` for a field that is missing, of another type or out of range.
    """
    task, n_classes = task_of(name), PUBLISHED_HEADS[name].n_out
    if name == "cls_calandra17":
        return _named_class(labels, sample, classes)
    field, value = _field(labels, sample, task.fields)
    number = _number(value, field, sample)
    if number != int(number) or not 0 <= number + task.offset < n_classes:
        raise DataError(
            f"{sample}: {field} is {number:g}; expected for {name} a whole number "
            f"{-task.offset}..{n_classes - 1 - task.offset}"
        )
    return int(number) + task.offset


def variance(labels: Labels, sample: str) -> float:
    field, value = _field(labels, sample, TASKS["variance_estimation"].fields)
    return _number(value, field, sample)


def position_mm(labels: Labels, sample: str) -> F64:
    """(3,) x_mm, y_mm, z_mm."""
    return np.array([_number(_field(labels, sample, (n,))[1], n, sample) for n in ("x_mm", "y_mm", "z_mm")])


def pose(labels: Labels, sample: str) -> F64:
    """(7,) x y z in mm and qx qy qz qw. Raises DataError naming the sample and the field."""
    _, value = _field(labels, sample, ("quat_xyzw",))
    if not isinstance(value, list) or len(value) != 4:
        raise DataError(f"{sample}: quat_xyzw is {reprlib.repr(value)}; expected a list of four numbers")
    quat = np.array([_number(v, "quat_xyzw", sample) for v in value])
    length = float(np.linalg.norm(quat))
    if not 0.9 < length < 1.1:
        raise DataError(f"{sample}: quat_xyzw has length {length:.3g}; expected 1")
    return np.concatenate([position_mm(labels, sample), quat / length])


def pair_labels(kind: TaskKind, first: F64, second: F64) -> F64:
    """From first to second, not normalised: (N, 9) of poses (N, 7), or (N, 3) of positions (N, 3)."""
    return delta_d9(first, second) if kind == "pose_6d" else second - first


def rolled(n: int, offset: int) -> NDArray[np.int64]:
    """Partners (n,) of a batch rolled by `offset`; 0 pairs everything with itself."""
    return np.roll(np.arange(n), offset)


def _named_class(labels: Labels, sample: str, classes: Sequence[str]) -> int:
    if labels.get("has_contact") in (False, 0):
        return 0
    _, value = _field(labels, sample, ("object_name",))
    if value not in classes:
        raise DataError(f"{sample}: unknown object_name; {name_hint(str(value), classes)}; list it in set.yaml")
    return list(classes).index(str(value))


def _field(labels: Labels, sample: str, names: Sequence[str]) -> tuple[str, object]:
    for name in names:
        if name in labels:
            return name, labels[name]
    there = reprlib.repr(sorted(labels)) if labels else "(none)"
    raise DataError(
        f"{sample} has no field '{names[0]}', only: {there}; leave this task out for its set, or write the field"
    )


def _number(value: object, field: str, sample: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{sample}: {field} is {reprlib.repr(value)}; expected a number")
    number = float(value) if abs(value) < 1e12 else np.inf
    if not np.isfinite(number):
        raise DataError(f"{sample}: {field} is {reprlib.repr(value)}; expected a finite number")
    return number
