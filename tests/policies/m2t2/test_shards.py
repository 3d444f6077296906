"""Shards round-trip, and every broken rule is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_policies.m2t2.shards import (
    TrainingScene,
    check_scene,
    read_all,
    read_shard,
    shard_paths,
    write_shard,
)


def scene(scene_id: int = 3, n: int = 64) -> TrainingScene:
    rng = stream(scene_id, "shard test")
    label = rng.integers(-2, 3, n).astype(np.int16)
    directions = rng.standard_normal((2, n, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    directions[:, label < 0] = 0.0
    width = np.where(label >= 0, rng.uniform(0.0, 0.08, n), 0.0).astype(np.float32)
    return TrainingScene(
        xyz=rng.uniform(0.3, 0.6, (n, 3)).astype(np.float32),
        object=np.maximum(label, -1).astype(np.int16),
        label=label,
        contact_dir=directions[0],
        approach_dir=directions[1],
        width_m=width,
        scene_id=scene_id,
        seed=7,
    )


def test_round_trip_keeps_every_array(tmp_path: Path) -> None:
    scenes = [scene(3), scene(4)]
    write_shard(tmp_path, scenes)
    back = list(read_all(tmp_path))
    assert [s.scene_id for s in back] == [3, 4]
    for a, b in zip(scenes, back, strict=True):
        np.testing.assert_array_equal(a.xyz, b.xyz)
        np.testing.assert_array_equal(a.label, b.label)
        np.testing.assert_array_equal(a.object, b.object)
        np.testing.assert_allclose(a.contact_dir, b.contact_dir, atol=1e-3)
        np.testing.assert_allclose(a.width_m, b.width_m, atol=1e-4)


def test_damaged_and_missing_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="datagen grasp"):
        shard_paths(tmp_path)
    path = write_shard(tmp_path, [scene()])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=path.name):
        read_shard(path)
    np.savez(path, xyz=np.zeros((1, 4, 3)))
    with pytest.raises(DataError, match="lacks"):
        read_shard(path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("xyz", np.zeros((1, 64, 2), np.float32), r"xyz is float32 of shape \(1, 64, 2\), expected .*\(1, 64, 3\)"),
        ("label", np.zeros((1, 63), np.int16), r"label is int16 of shape \(1, 63\)"),
        ("width", np.full((1, 64), "a"), r"width is <U1"),
        ("xyz", np.full((1, 64, 3), np.nan, np.float32), "xyz has NaN"),
    ],
)
def test_arrays_of_another_shape_are_named(tmp_path: Path, name: str, value: np.ndarray, words: str) -> None:
    path = write_shard(tmp_path, [scene()])
    with np.load(path) as data:
        arrays = {**data, name: value}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=words):
        read_shard(path)


def test_a_flipped_byte_is_a_fault_that_names_the_shard(tmp_path: Path) -> None:
    path = write_shard(tmp_path, [scene()])
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        read_shard(path)


@pytest.mark.parametrize("field", ["xyz", "contact_dir", "approach_dir", "width_m", "label"])
def test_check_names_the_broken_array(field: str) -> None:
    good = scene()
    check_scene(good, n_points=64)
    broken = np.array(getattr(good, field)) * 3 + (np.nan if field == "xyz" else 0) - 3 * (field == "label")
    if field == "width_m":
        broken = np.full(64, 0.2, np.float32)
    with pytest.raises(DataError, match=field.removesuffix("_m")):
        check_scene(replace(good, **{field: broken}), n_points=64)
