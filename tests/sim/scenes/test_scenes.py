"""Laws of settled scenes: at rest, inside the workspace, no deep contact, upright when packed, same by seed."""

from functools import lru_cache

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError, MeshError
from sinew_sim.objects.generator import TEST_ONLY, generate
from sinew_sim.scenes import (
    WORKSPACE_HIGH,
    WORKSPACE_LOW,
    SceneSpec,
    SettledScene,
    TableWorld,
    choose_objects,
    drop_pile,
    make_scene,
    object_pool,
    place_packed,
)
from sinew_sim.scenes.pile import MARGIN_M

SIZES = ((0, 5, "train"), (1, 5, "test"), (2, 8, "test"))
CASES = [(kind, *size) for kind in ("packed", "pile") for size in SIZES]


@lru_cache
def _scene(kind: str, seed: int, n: int, split: str) -> SettledScene:
    return make_scene(SceneSpec(kind, seed, n, split))  # type: ignore[arg-type]


def _replayed(scene: SettledScene) -> TableWorld:
    world = TableWorld(scene.objects)
    for i, pose in enumerate(scene.poses):
        world.put(i, pose)
    return world


@pytest.mark.parametrize("case", CASES)
def test_stays_where_it_is(case: tuple) -> None:
    scene = _scene(*case)
    world = _replayed(scene)
    world.step(1.0)
    assert np.abs(world.poses[:, :3] - scene.poses[:, :3]).max() < 0.002


@pytest.mark.parametrize("case", CASES)
def test_nothing_penetrates(case: tuple) -> None:
    assert _replayed(_scene(*case)).penetration() < 0.001


@pytest.mark.parametrize("case", CASES)
def test_every_point_is_over_the_workspace(case: tuple) -> None:
    scene = _scene(*case)
    world = _replayed(scene)
    margin = 0.0 if scene.spec.kind == "packed" else MARGIN_M
    for i in range(len(scene.objects)):
        points = world.points(i)
        assert (points[:, :2] >= WORKSPACE_LOW[:2] - margin).all()
        assert (points[:, :2] <= WORKSPACE_HIGH[:2] + margin).all()
        assert points[:, 2].min() > -0.001


@pytest.mark.parametrize("case", CASES)
def test_poses_are_unit_and_count_matches(case: tuple) -> None:
    scene = _scene(*case)
    assert scene.poses.shape == (case[2], 7)
    assert len(scene.objects) == case[2]
    assert np.linalg.norm(scene.poses[:, 3:], axis=1) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] == "packed"])
def test_packed_objects_stand_upright_on_the_table(case: tuple) -> None:
    scene = _scene(*case)
    x, y = scene.poses[:, 4], scene.poses[:, 5]
    assert (1 - 2 * (x * x + y * y) > np.cos(np.deg2rad(8))).all()
    heights = [o.standing_height_m for o in scene.objects]
    assert scene.poses[:, 2] == pytest.approx(heights, abs=0.002)


def test_piles_lie_on_each_other() -> None:
    """Over a few seeds some object must rest on another; else nothing was piled."""
    raised = 0
    for seed in range(4):
        world = _replayed(make_scene(SceneSpec("pile", seed, 6)))
        raised += sum(float(world.points(i)[:, 2].min()) > 0.005 for i in range(6))
    assert raised >= 2


@pytest.mark.parametrize("kind", ["packed", "pile"])
def test_same_seed_same_scene_other_seed_other_scene(kind: str) -> None:
    first, again, other = (make_scene(SceneSpec(kind, s)) for s in (3, 3, 4))  # type: ignore[arg-type]
    assert [o.name for o in first.objects] == [o.name for o in again.objects]
    assert np.array_equal(first.poses, again.poses)
    assert not np.array_equal(first.poses, other.poses)


def test_train_scenes_hold_no_held_out_family() -> None:
    families = {o.family for o in object_pool(SceneSpec("pile", 0))}
    assert not families & set(TEST_ONLY)
    assert set(TEST_ONLY) <= {o.family for o in object_pool(SceneSpec("pile", 0, split="test"))}


def test_objects_are_drawn_without_repeats_while_they_last() -> None:
    pool = object_pool(SceneSpec("pile", 0, split="test"))
    names = [o.name for o in choose_objects(SceneSpec("pile", 5, 12), pool)]
    assert len(set(names)) == 12
    assert len(choose_objects(SceneSpec("pile", 5, 4), pool[:1])) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "heap"}, "unknown scene kind 'heap'.*packed, pile"),
        ({"split": "val"}, "unknown split 'val'"),
        ({"n_objects": 0}, "0 objects"),
        ({"n_objects": 40}, "40 objects"),
    ],
)
def test_nonsense_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SceneSpec(**{"kind": "pile", "seed": 0, **values})


def test_too_many_large_objects_cannot_be_packed() -> None:
    bowls = [generate(0, i, "bowl", split="test") for i in range(12)]
    with pytest.raises(ConfigError, match="fewer or smaller"):
        place_packed(bowls, 0)


def test_one_object_is_a_scene() -> None:
    box = [generate(0, 0, "box")]
    assert place_packed(box, 0).shape == drop_pile(box, 0).shape == (1, 7)


def test_folder_without_meshes_is_a_mesh_error(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MeshError, match="no OBJ"):
        object_pool(SceneSpec("pile", 0, objects_dir=tmp_path))
