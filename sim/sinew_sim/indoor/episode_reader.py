"""Episode files of ObjectNav, InstanceNav (text and image), ImageNav and PointNav: JSON, packed or plain."""

from pathlib import Path

from sinew_sim.indoor.episodes import (
    Attributes,
    Episode,
    EpisodeFile,
    ImageGoal,
    ObjectGoal,
    PointGoal,
    Task,
    ViewPoint,
)
from sinew_sim.indoor.json_fields import MAX_BYTES, MAX_VALUES, JsonField, optional, read_json

TOP_KEYS = frozenset({"episodes", "content_scenes_path"})
OBJECT_KEYS = TOP_KEYS | {
    "goals_by_category",
    "category_to_task_category_id",
    "category_to_scene_annotation_category_id",
    "category_to_mp3d_category_id",
}
INSTANCE_KEYS = TOP_KEYS | {"goals", "attribute_data"}
EPISODE_KEYS = frozenset(
    {
        "episode_id",
        "scene_id",
        "start_position",
        "start_rotation",
        "scene_dataset_config",
        "object_category",
        "goal_object_id",
        "goal_image_id",
        "goals",
        "info",
    }
)
INFO_KEYS = frozenset({"geodesic_distance"})
POINT_GOAL_KEYS = frozenset({"position", "radius"})
OBJECT_GOAL_KEYS = frozenset(
    {
        "position",
        "radius",
        "object_id",
        "object_name",
        "object_name_id",
        "object_category",
        "object_surface_area",
        "room_id",
        "room_name",
        "view_points",
        "image_goals",
    }
)
ATTRIBUTE_KEYS = frozenset({"intrinsic_attributes", "extrinsic_attributes"})


def read_episodes(
    path: Path, *, task: Task | None = None, max_bytes: int = MAX_BYTES, max_values: int = MAX_VALUES
) -> EpisodeFile:
    """One episode file as it stands, ids included. `task` None: told from the fields.

    Raises DataError naming file, field, value and what was expected. What is well formed but useless (goals
    out of reach or at the start) is left to `episode_checks`.
    """
    root = read_json(path, max_bytes=max_bytes, max_values=max_values)
    episodes = root.at("episodes")
    kind = task or _task_of(root)
    content_path = optional(root.get("content_scenes_path"), JsonField.text)
    read = tuple(_episode(e, kind) for e in episodes.elements())
    match kind:
        case Task.POINT:
            return EpisodeFile(kind, read, content_scenes_path=content_path, extra=root.rest(TOP_KEYS))
        case Task.OBJECT:
            annotation = root.get("category_to_scene_annotation_category_id") or root.get(
                "category_to_mp3d_category_id"
            )
            return EpisodeFile(
                kind,
                read,
                goals=_goal_lists(root.get("goals_by_category"), episodes),
                task_category_ids=_numbers(root.get("category_to_task_category_id")),
                annotation_category_ids=_numbers(annotation),
                content_scenes_path=content_path,
                extra=root.rest(OBJECT_KEYS),
            )
        case _:
            goals = root.get("goals")
            attributes = root.get("attribute_data")
            return EpisodeFile(
                kind,
                read,
                goals={} if goals is None else {key: (_object_goal(g),) for key, g in goals.members()},
                attributes={} if attributes is None else {k: _attributes(a) for k, a in attributes.members()},
                content_scenes_path=content_path,
                extra=root.rest(INSTANCE_KEYS),
            )


def _task_of(root: JsonField) -> Task:
    if any(root.get(key) for key in OBJECT_KEYS - TOP_KEYS):
        return Task.OBJECT
    if root.get("attribute_data"):
        return Task.INSTANCE_TEXT
    if root.get("goals"):
        return Task.INSTANCE_IMAGE
    # Old ObjectNav files repeat the goals in every episode and have no table of them.
    first = next(root.at("episodes").elements(), None)
    return Task.OBJECT if first is not None and first.get("object_category") else Task.POINT


def _episode(field: JsonField, task: Task) -> Episode:
    info = field.get("info")
    distance = None if info is None else info.get("geodesic_distance")
    goals = field.get("goals") if task is Task.POINT else None
    return Episode(
        episode_id=str(field.at("episode_id").label()),
        scene_id=field.at("scene_id").text(),
        start_position=field.at("start_position").vec3(),
        start_rotation=field.at("start_rotation").quaternion(),
        geodesic_distance_m=optional(distance, JsonField.distance),
        scene_dataset_config=optional(field.get("scene_dataset_config"), JsonField.text),
        object_category=optional(field.get("object_category"), JsonField.text),
        goal_object_id=optional(field.get("goal_object_id"), JsonField.label),
        goal_image_id=optional(field.get("goal_image_id"), JsonField.integer),
        point_goals=() if goals is None else tuple(_point_goal(g) for g in goals.elements()),
        info_extra="" if info is None else info.rest(INFO_KEYS),
        extra=field.rest(EPISODE_KEYS),
    )


def _point_goal(field: JsonField) -> PointGoal:
    return PointGoal(
        position=field.at("position").vec3(),
        radius_m=optional(field.get("radius"), JsonField.number),
        extra=field.rest(POINT_GOAL_KEYS),
    )


def _goal_lists(table: JsonField | None, episodes: JsonField) -> dict[str, tuple[ObjectGoal, ...]]:
    if table is not None:
        return {key: tuple(_object_goal(g) for g in goals.elements()) for key, goals in table.members()}
    lists: dict[str, tuple[ObjectGoal, ...]] = {}
    for episode in episodes.elements():
        goals = episode.get("goals")
        if goals is not None and goals.value:
            key = f"{episode.at('scene_id').text().rsplit('/', 1)[-1]}_{episode.at('object_category').text()}"
            if key not in lists:
                lists[key] = tuple(_object_goal(g) for g in goals.elements())
    return lists


def _object_goal(field: JsonField) -> ObjectGoal:
    views, images = field.get("view_points"), field.get("image_goals")
    return ObjectGoal(
        position=field.at("position").vec3(),
        object_category=field.at("object_category").text(),
        object_id=field.at("object_id").label(),
        view_points=() if views is None else tuple(_view_point(v) for v in views.elements()),
        object_name=optional(field.get("object_name"), JsonField.text),
        object_name_id=optional(field.get("object_name_id"), JsonField.integer),
        object_surface_area_m2=optional(field.get("object_surface_area"), JsonField.number),
        room_id=optional(field.get("room_id"), JsonField.label),
        room_name=optional(field.get("room_name"), JsonField.text),
        radius_m=optional(field.get("radius"), JsonField.number),
        image_goals=() if images is None else tuple(_image_goal(i) for i in images.elements()),
        extra=field.rest(OBJECT_GOAL_KEYS),
    )


def _view_point(field: JsonField) -> ViewPoint:
    state = field.at("agent_state")
    return ViewPoint(
        position=state.at("position").vec3(),
        rotation=state.at("rotation").quaternion(),
        iou=optional(field.get("iou"), JsonField.number),
    )


def _image_goal(field: JsonField) -> ImageGoal:
    size = list(field.at("image_dimensions").elements())
    if len(size) != 2 or any(s.integer() <= 0 for s in size):
        raise field.at("image_dimensions").fault("[height, width] in pixels, both above 0")
    hfov = field.at("hfov")
    if not 0.0 < hfov.number() < 180.0:
        raise hfov.fault("a horizontal field of view between 0 and 180 degrees")
    return ImageGoal(
        position=field.at("position").vec3(),
        rotation=field.at("rotation").quaternion(),
        hfov_deg=hfov.number(),
        height_px=size[0].integer(),
        width_px=size[1].integer(),
        frame_coverage=field.at("frame_coverage").number(),
        object_coverage=field.at("object_coverage").number(),
    )


def _attributes(field: JsonField) -> Attributes:
    return Attributes(
        intrinsic=field.at("intrinsic_attributes").text(),
        extrinsic=field.at("extrinsic_attributes").text(),
        extra=field.rest(ATTRIBUTE_KEYS),
    )


def _numbers(table: JsonField | None) -> dict[str, int]:
    return {} if table is None else {name: value.integer() for name, value in table.members()}
