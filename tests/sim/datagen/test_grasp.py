"""A tiny data set from end to end: right, resumable, the same every time."""

import json
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.jaw import clear_of_table
from sinew_policies.m2t2.shards import NO_GRASP, TABLE, TrainingScene, read_all
from sinew_sim.datagen.grasp import GraspDataConfig, generate_grasp_data, make_exposures, settled_objects
from sinew_sim.floating.execute import FloatingHand
from sinew_sim.floating.frames import grasp_poses
from sinew_sim.floating.scene import build_scene


def _config(out: Path, **changes: int) -> GraspDataConfig:
    values = {"objects": 3, "scenes": 2, "views": 2, "seed": 5, "workers": 1, "points_per_object": 120}
    return GraspDataConfig(out=out, **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[GraspDataConfig, list[TrainingScene]]:
    config = _config(tmp_path_factory.mktemp("grasp"))
    seen: list[tuple[str, int, int]] = []
    report = generate_grasp_data(config, lambda *step: seen.append(step))
    assert seen[0] == ("objects", 0, 3)
    assert seen[-1] == ("scenes", 1, 1)
    scenes = list(read_all(config.out))
    assert report.exposures == len(scenes) == 4
    assert report.positives == sum(int((s.label >= 0).sum()) for s in scenes)
    return config, scenes


def test_labels_are_unit_orthogonal_and_on_their_own_object(made) -> None:
    _, scenes = made
    positives = 0
    for s in scenes:
        good = s.label >= 0
        positives += int(good.sum())
        assert (s.label[good] == s.object[good]).all()
        assert (s.label[s.object == TABLE] == NO_GRASP).all()
        cosine = np.einsum("ij,ij->i", s.contact_dir[good], s.approach_dir[good])
        assert np.abs(cosine).max(initial=0.0) < 5e-3
        assert (s.approach_dir[good, 2] < -0.1).all()  # from above, never from below
    assert positives > 0.03 * sum(len(s.label) for s in scenes)


def test_every_view_of_a_scene_shows_the_same_objects(made) -> None:
    _, scenes = made
    assert [s.scene_id for s in scenes] == [0, 1, 2, 3]
    for a, b in ((scenes[0], scenes[1]), (scenes[2], scenes[3])):
        assert not np.array_equal(a.xyz, b.xyz)
        assert abs(int(a.object.max()) - int(b.object.max())) <= 1


def test_an_index_gives_the_same_scene_in_any_process(made) -> None:
    config, scenes = made
    again = make_exposures(config, 1)
    for new, old in zip(again, scenes[2:], strict=True):
        assert np.array_equal(new.xyz, old.xyz)
        assert np.array_equal(new.label, old.label)


def test_a_second_run_keeps_what_is_there_and_makes_what_is_missing(made) -> None:
    config, scenes = made
    shard = config.out / "scenes_0000000.npz"
    graded = {p: p.stat().st_mtime_ns for p in (config.out / "objects").iterdir()}
    before = shard.stat().st_mtime_ns
    assert generate_grasp_data(config).exposures == 4
    assert shard.stat().st_mtime_ns == before
    shard.unlink()
    generate_grasp_data(config)
    assert {p: p.stat().st_mtime_ns for p in graded} == graded
    assert np.array_equal(next(read_all(config.out)).label, scenes[0].label)
    manifest = json.loads((config.out / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["seed"] == 5


def test_labels_decoded_from_the_noisy_cloud_lift_their_objects(made) -> None:
    """The ceiling of a network that learns them perfectly."""
    config, scenes = made
    rng = np.random.default_rng(0)
    done = tried = 0
    for index in range(config.scenes):
        objects, poses = settled_objects(config, index)
        exposure = scenes[index * config.views]
        good = np.flatnonzero(exposure.label >= 0)
        for i in rng.choice(good, min(4, len(good)), replace=False):
            one = slice(i, i + 1)
            columns = (exposure.xyz, exposure.contact_dir, exposure.approach_dir, exposure.width_m)
            pose = grasp_poses(*(c[one].astype(np.float64) for c in columns))[0]
            width = float(exposure.width_m[i])
            result = FloatingHand(build_scene(objects, poses)).execute(clear_of_table(pose, width), width)
            tried += 1
            done += result.success and result.object_index == exposure.label[i]
    assert tried >= 4
    assert done >= 0.85 * tried


def test_a_folder_made_with_other_settings_is_not_mixed(made) -> None:
    config, _ = made
    with pytest.raises(ConfigError, match="seed 5, now 6"):
        generate_grasp_data(_config(config.out, seed=6))


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers is 0"):
        _config(tmp_path, workers=0)
