"""Navigation episodes as Habitat's data sets hold them: values only, in Habitat's axes (y up, -z forward).

Positions in metres, quaternions xyzw. `extra` carries, as JSON text, the fields that a file has and sinew does
not interpret, so that writing loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from sinew_policies.common.errors import DataError, name_hint
from sinew_policies.common.types import F64
from sinew_sim.indoor.json_fields import Quat, Vec3, printable


class Task(StrEnum):
    """Whose goals an episode file holds."""

    POINT = "point"  # PointNav; ImageNav uses the same files and renders its goal at run time
    OBJECT = "object"  # any object of a category
    INSTANCE_IMAGE = "instance-image"  # one object, shown by a photo
    INSTANCE_TEXT = "instance-text"  # one object, described in words


@dataclass(frozen=True, slots=True)
class ViewPoint:
    """A place from which a goal can be seen; arriving at the nearest one counts as success."""

    position: Vec3
    rotation: Quat
    iou: float | None = None


@dataclass(frozen=True, slots=True)
class ImageGoal:
    """Camera of a goal photo."""

    position: Vec3
    rotation: Quat
    hfov_deg: float
    height_px: int
    width_px: int
    frame_coverage: float
    object_coverage: float


@dataclass(frozen=True, slots=True)
class PointGoal:
    position: Vec3
    radius_m: float | None = None
    extra: str = ""


@dataclass(frozen=True, slots=True)
class ObjectGoal:
    position: Vec3
    object_category: str
    object_id: str | int
    view_points: tuple[ViewPoint, ...]
    object_name: str | None = None
    object_name_id: int | None = None
    object_surface_area_m2: float | None = None
    room_id: str | int | None = None
    room_name: str | None = None
    radius_m: float | None = None
    image_goals: tuple[ImageGoal, ...] = ()
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Attributes:
    """A description in words: of the object itself, and of what stands around it."""

    intrinsic: str
    extrinsic: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Episode:
    episode_id: str
    scene_id: str
    start_position: Vec3
    start_rotation: Quat
    geodesic_distance_m: float | None = None  # from the start to the goal; infinite: no way leads there
    scene_dataset_config: str | None = None
    object_category: str | None = None
    goal_object_id: str | int | None = None
    goal_image_id: int | None = None
    point_goals: tuple[PointGoal, ...] = ()  # of Task.POINT; the other tasks share goals per file
    info_extra: str = ""
    extra: str = ""

    @property
    def scene_name(self) -> str:
        """`TEEsavR23oF` of `hm3d/val/00800-TEEsavR23oF/TEEsavR23oF.basis.glb`."""
        return self.scene_file.removesuffix(".glb").removesuffix(".basis")

    @property
    def scene_file(self) -> str:
        return self.scene_id.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class EpisodeFile:
    """One episode file. `goals` is empty for Task.POINT; otherwise `goal_key` finds an episode's goals in it."""

    task: Task
    episodes: tuple[Episode, ...]
    goals: Mapping[str, tuple[ObjectGoal, ...]] = field(default_factory=dict)
    task_category_ids: Mapping[str, int] = field(default_factory=dict)  # Task.OBJECT
    annotation_category_ids: Mapping[str, int] = field(default_factory=dict)  # Task.OBJECT
    attributes: Mapping[str, Attributes] = field(default_factory=dict)  # Task.INSTANCE_TEXT
    content_scenes_path: str | None = None
    extra: str = ""

    def goal_key(self, episode: Episode) -> str:
        """`<scene file>_<category>` for categories, `<scene name>_<object id>` for instances.

        Raises DataError for an episode that lacks what its key is made of, and for Task.POINT.
        """
        match self.task:
            case Task.POINT:
                raise DataError(f"{_called(episode)}: point episodes hold their own goals; read point_goals")
            case Task.OBJECT:
                return f"{episode.scene_file}_{_needed(episode, 'object_category', episode.object_category)}"
            case _:
                return f"{episode.scene_name}_{_needed(episode, 'goal_object_id', episode.goal_object_id)}"

    def goals_of(self, episode: Episode) -> tuple[ObjectGoal, ...]:
        """Raises DataError naming the key that the file lacks."""
        key = self.goal_key(episode)
        if key not in self.goals:
            raise DataError(f"{_called(episode)}: no goals under '{printable(key)}'; {_key_hint(key, self.goals)}")
        return self.goals[key]

    def targets(self, episode: Episode) -> F64:
        """(N, 3) places at which the episode succeeds: view points; for point goals the goals themselves."""
        if self.task is Task.POINT:
            places = [g.position for g in episode.point_goals]
        else:
            goals = self.goals_of(episode)
            places = [v.position for g in goals for v in g.view_points]
        return np.array(places, np.float64).reshape(-1, 3)

    def attributes_of(self, episode: Episode) -> Attributes:
        """Raises DataError where the file describes no such object."""
        key = self.goal_key(episode)
        if key not in self.attributes:
            raise DataError(
                f"{_called(episode)}: no attributes under '{printable(key)}'; {_key_hint(key, self.attributes)}"
            )
        return self.attributes[key]


def renumbered(file: EpisodeFile) -> EpisodeFile:
    """Episode ids 0, 1, … in the order of the file, as Habitat numbers them when it loads."""
    return replace(file, episodes=tuple(replace(e, episode_id=str(i)) for i, e in enumerate(file.episodes)))


def _needed(episode: Episode, name: str, value: str | int | None) -> str | int:
    if value is None:
        raise DataError(f"{_called(episode)} has no {name}; its goal cannot be looked up without")
    return value


def _called(episode: Episode) -> str:
    return f"episode {printable(episode.episode_id)}"


def _key_hint(key: str, table: Mapping[str, object]) -> str:
    if len(table) <= 20:
        return name_hint(printable(key), [printable(k) for k in table])
    scene = [k for k in table if k.split("_")[0] == key.split("_")[0]]
    return f"the file has {len(table)} keys, such as {', '.join(printable(k) for k in (scene or list(table))[:5])}"
