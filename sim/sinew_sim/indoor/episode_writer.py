"""Episode files in the form that Habitat loads; reading one back gives an equal `EpisodeFile`."""

import json
import math
from pathlib import Path

from sinew_policies.common.errors import DataError
from sinew_sim.indoor.bounded_file import write_bytes
from sinew_sim.indoor.episodes import Attributes, Episode, EpisodeFile, ImageGoal, ObjectGoal, PointGoal, Task
from sinew_sim.indoor.json_fields import Json


def write_episodes(file: EpisodeFile, path: Path) -> None:
    """Writes the whole file or nothing; packed where the name ends in .gz, the same bytes each time.

    Raises DataError for NaN, which no loader could use.
    """
    text = json.dumps(_content(file, path))
    write_bytes(path, text.encode(), packed=path.suffix == ".gz")


def _content(file: EpisodeFile, path: Path) -> dict[str, Json]:
    content: dict[str, Json] = _others(file.extra)
    if file.content_scenes_path is not None:
        content["content_scenes_path"] = file.content_scenes_path
    if file.task is Task.OBJECT:
        content["category_to_task_category_id"] = dict(file.task_category_ids)
        content["category_to_scene_annotation_category_id"] = dict(file.annotation_category_ids)
        content["goals_by_category"] = {k: [_object_goal(g, path) for g in v] for k, v in file.goals.items()}
    elif file.task is not Task.POINT:
        for key, goals in file.goals.items():
            if len(goals) != 1:
                raise DataError(
                    f"{path}: '{key}' has {len(goals)} goals; an instance file takes exactly one per key"
                )
        content["goals"] = {k: _object_goal(v[0], path) for k, v in file.goals.items()}
    if file.task is Task.INSTANCE_TEXT:
        content["attribute_data"] = {k: _attributes(a) for k, a in file.attributes.items()}
    content["episodes"] = [_episode(e, path) for e in file.episodes]
    return content


def _episode(e: Episode, path: Path) -> dict[str, Json]:
    where = f"{path}: episode {e.episode_id}"
    info = _others(e.info_extra)
    if e.geodesic_distance_m is not None:
        if math.isnan(e.geodesic_distance_m):
            raise DataError(
                f"{where}: geodesic_distance_m is nan; expected metres, infinity where no way leads there"
            )
        info["geodesic_distance"] = e.geodesic_distance_m
    return {
        **_others(e.extra),
        "episode_id": e.episode_id,
        "scene_id": e.scene_id,
        "scene_dataset_config": e.scene_dataset_config,
        "start_position": _finite(e.start_position, f"{where}: start_position"),
        "start_rotation": _finite(e.start_rotation, f"{where}: start_rotation"),
        "info": info,
        "goals": [_point_goal(g, where) for g in e.point_goals],
        **_present(
            object_category=e.object_category, goal_object_id=e.goal_object_id, goal_image_id=e.goal_image_id
        ),
    }


def _point_goal(g: PointGoal, where: str) -> dict[str, Json]:
    return {
        **_others(g.extra),
        "position": _finite(g.position, f"{where}: goal position"),
        "radius": _number(g.radius_m, f"{where}: goal radius_m"),
    }


def _object_goal(g: ObjectGoal, path: Path) -> dict[str, Json]:
    where = f"{path}: goal {g.object_id}"
    content: dict[str, Json] = {
        **_others(g.extra),
        "position": _finite(g.position, f"{where}: position"),
        "radius": _number(g.radius_m, f"{where}: radius_m"),
        "object_id": g.object_id,
        "object_name": g.object_name,
        "object_name_id": g.object_name_id,
        "object_category": g.object_category,
        "room_id": g.room_id,
        "room_name": g.room_name,
        "view_points": [
            {
                "agent_state": {
                    "position": _finite(v.position, f"{where}: view point"),
                    "rotation": _finite(v.rotation, f"{where}: view point's rotation"),
                },
                "iou": _number(v.iou, f"{where}: view point's iou"),
            }
            for v in g.view_points
        ],
        **_present(object_surface_area=_number(g.object_surface_area_m2, f"{where}: object_surface_area_m2")),
    }
    if g.image_goals:
        content["image_goals"] = [_image_goal(i, where) for i in g.image_goals]
    return content


def _image_goal(i: ImageGoal, where: str) -> dict[str, Json]:
    return {
        "position": _finite(i.position, f"{where}: image goal's position"),
        "rotation": _finite(i.rotation, f"{where}: image goal's rotation"),
        "hfov": _number(i.hfov_deg, f"{where}: image goal's hfov_deg"),
        "image_dimensions": [i.height_px, i.width_px],
        "frame_coverage": _number(i.frame_coverage, f"{where}: image goal's frame_coverage"),
        "object_coverage": _number(i.object_coverage, f"{where}: image goal's object_coverage"),
    }


def _attributes(a: Attributes) -> dict[str, Json]:
    return {**_others(a.extra), "intrinsic_attributes": a.intrinsic, "extrinsic_attributes": a.extrinsic}


def _others(extra: str) -> dict[str, Json]:
    return dict(json.loads(extra)) if extra else {}


def _present(**members: str | int | float | None) -> dict[str, Json]:
    return {name: value for name, value in members.items() if value is not None}


def _finite(values: tuple[float, ...], where: str) -> list[Json]:
    return [_number(v, where) for v in values]


def _number(value: float | None, where: str) -> float | None:
    if value is not None and not math.isfinite(value):
        raise DataError(f"{where} is {value}; expected a finite number")
    return value
