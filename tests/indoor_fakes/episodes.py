"""Episode files of every task: small ones by hand, arbitrary ones for hypothesis."""

import math

from hypothesis import strategies as st

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

SCENE = "hm3d/val/00800-TEEsavR23oF/TEEsavR23oF.basis.glb"
LEVEL = (0.0, 0.0, 0.0, 1.0)


def chair_episodes() -> EpisodeFile:
    """Two ObjectNav episodes for chairs in one scene."""
    goal = ObjectGoal(
        position=(4.0, 0.5, 0.5),
        object_category="chair",
        object_id=17,
        object_name="chair_17",
        view_points=(ViewPoint((3.5, 0.0, 0.5), LEVEL, 0.1), ViewPoint((4.5, 0.0, 0.5), LEVEL, 0.2)),
    )
    return EpisodeFile(
        task=Task.OBJECT,
        episodes=tuple(
            Episode(str(i), SCENE, (0.5 + i, 0.0, 0.5), LEVEL, 3.0 - i, object_category="chair") for i in range(2)
        ),
        goals={"TEEsavR23oF.basis.glb_chair": (goal,)},
        task_category_ids={"chair": 0},
        annotation_category_ids={"chair": 0},
    )


_coordinates = st.floats(-1e3, 1e3, allow_nan=False)
_places = st.tuples(_coordinates, _coordinates, _coordinates)
_names = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=8)
_maybe_names = st.none() | _names
_ids = _names | st.integers(0, 10**6)
_extras = st.sampled_from(["", '{"start_room": null}', '{"shortest_paths": [[1, 2, {"a": 0.5}]]}'])


def _turn(angle: float) -> tuple[float, float, float, float]:
    return (0.0, math.sin(angle), 0.0, math.cos(angle))


_turns = st.floats(-4.0, 4.0).map(_turn)
_views = st.builds(ViewPoint, _places, _turns, st.none() | st.floats(0.0, 1.0))
_images = st.builds(
    ImageGoal,
    _places,
    _turns,
    st.floats(1.0, 170.0),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)


@st.composite
def object_goals(draw: st.DrawFn) -> ObjectGoal:
    return ObjectGoal(
        position=draw(_places),
        object_category=draw(_names),
        object_id=draw(_ids),
        view_points=tuple(draw(st.lists(_views, max_size=3))),
        object_name=draw(_maybe_names),
        object_name_id=draw(st.none() | st.integers(0, 99)),
        object_surface_area_m2=draw(st.none() | st.floats(0.0, 9.0)),
        room_id=draw(st.none() | _ids),
        room_name=draw(_maybe_names),
        radius_m=draw(st.none() | st.floats(0.0, 3.0)),
        image_goals=tuple(draw(st.lists(_images, max_size=2))),
        extra=draw(_extras),
    )


@st.composite
def episode_files(draw: st.DrawFn) -> EpisodeFile:
    """Well-formed files; keys need not match goals, which reading does not ask for."""
    task = draw(st.sampled_from(list(Task)))
    point = task is Task.POINT
    point_goals = st.lists(
        st.builds(PointGoal, _places, st.none() | st.floats(0.0, 1.0), _extras), max_size=2 if point else 0
    )
    episodes = draw(
        st.lists(
            st.builds(
                Episode,
                episode_id=_names,
                scene_id=_names,
                start_position=_places,
                start_rotation=_turns,
                geodesic_distance_m=st.none() | st.just(math.inf) | st.floats(0.0, 99.0),
                scene_dataset_config=_maybe_names,
                object_category=st.none() if point else _names,
                goal_object_id=st.none() if point else _ids,
                goal_image_id=st.none() | st.integers(0, 9),
                point_goals=point_goals.map(tuple),
                info_extra=_extras,
                extra=_extras,
            ),
            max_size=3,
        )
    )
    single = object_goals().map(lambda goal: (goal,))
    lists = st.lists(object_goals(), max_size=2).map(tuple)
    goals = {} if point else draw(st.dictionaries(_names, lists if task is Task.OBJECT else single, max_size=2))
    numbers = st.dictionaries(_names, st.integers(0, 99), max_size=2)
    attributes = st.dictionaries(
        _names, st.builds(Attributes, st.text(max_size=20), st.text(max_size=20)), max_size=2
    )
    return EpisodeFile(
        task=task,
        episodes=tuple(episodes),
        goals=goals,
        task_category_ids=draw(numbers) if task is Task.OBJECT else {},
        annotation_category_ids=draw(numbers) if task is Task.OBJECT else {},
        attributes=draw(attributes) if task is Task.INSTANCE_TEXT else {},
        content_scenes_path=draw(st.none() | st.just("{data_path}/content/{scene}.json.gz")),
        extra=draw(st.sampled_from(["", '{"version": "v1"}'])),
    )
