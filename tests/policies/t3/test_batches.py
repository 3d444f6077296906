from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policies.t3.touch_sets import SHAPE, write_set

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.t3.augment import Augmentation, augmented
from sinew_policies.t3.batches import Batches, Source, sources_of, validation_batches
from sinew_policies.t3.fota import Sample, write_count, write_shard
from sinew_policies.t3.pose import LabelNorm
from sinew_policies.t3.preprocess import Normalisation, preprocess
from sinew_policies.t3.sets import DataSet, SetInfo, open_sets, write_info
from sinew_policies.t3.tasks import position_mm, rolled
from sinew_policies.t3.train_config import RECONSTRUCTION_HEAD, TrainConfig

CONFIG = TrainConfig("supervise", Path("data"), Path("out"), batch=8, shape=SHAPE)
PROBE_TASKS = ("cls_cnc", "pose_estimation_3d", "variance_estimation")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[DataSet]:
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder / "key", ("pose_estimation_6d_mini",), 40, 10, indenters=("key",))
    write_set(folder / "probe", PROBE_TASKS, 24, 20)
    return open_sets(folder)


def batches(sets: list[DataSet], config: TrainConfig = CONFIG, rank: int = 0) -> Batches:
    return Batches(sources_of(sets, config), config, 32, 16, rank)


def source(sets: list[DataSet], head: str) -> Source:
    return next(s for s in sources_of(sets, CONFIG) if s.head == head)


def equal(a: object, b: object) -> bool:
    pairs = [(getattr(a, n), getattr(b, n)) for n in ("images", "partner", "target", "noise")]
    return all((x is None) == (y is None) and (x is None or torch.equal(x, y)) for x, y in pairs)


def test_every_set_serves_its_heads_by_the_square_root_of_its_batches(sets: list[DataSet]) -> None:
    assert [s.name for s in sources_of(sets, CONFIG)] == [
        "key/pose_estimation_6d_mini",
        *(f"probe/{task}" for task in PROBE_TASKS),
    ]
    root = np.sqrt([5, 3, 3, 3])
    np.testing.assert_allclose(batches(sets).shares, root / root.sum())
    pretrain = replace(CONFIG, stage="pretrain")
    assert [s.head for s in sources_of(sets, pretrain)] == [RECONSTRUCTION_HEAD] * 2


def test_a_step_has_the_same_batch_whenever_it_is_asked(sets: list[DataSet]) -> None:
    first, again = batches(sets), batches(sets)
    steps = range(12)
    expected = [first[s] for s in steps]
    assert all(equal(again[s], expected[s]) for s in reversed(steps))
    assert len({b.head for b in expected}) > 1


def test_processes_share_the_batch_of_one(sets: list[DataSet]) -> None:
    config = replace(CONFIG, tasks=("cls_cnc",))
    whole = batches(sets, config)[3]
    halves = [batches(sets, replace(config, processes=2), rank)[3] for rank in (0, 1)]
    assert torch.equal(torch.cat([h.images for h in halves]), whole.images)
    assert whole.target is not None
    assert torch.equal(torch.cat([h.target for h in halves if h.target is not None]), whole.target)


def test_pairs_stay_within_the_share_of_a_process(sets: list[DataSet]) -> None:
    config = replace(CONFIG, tasks=("pose_estimation_3d",), processes=2)
    ranks = [batches(sets, config, rank) for rank in (0, 1)]
    alone = batches(sets, replace(config, processes=1))
    offsets = set()
    for step in range(12):
        halves = [of_rank[step] for of_rank in ranks]
        assert torch.equal(torch.cat([h.images for h in halves]), alone[step].images)
        for half in halves:
            assert half.partner is not None
            assert half.target is not None
            offset = int(half.partner.argmin())
            assert half.partner.tolist() == rolled(4, offset).tolist()
            torch.testing.assert_close(half.target.sum(0), torch.zeros(3), atol=1e-5, rtol=0)  # a closed round
            offsets.add(offset)
    assert offsets == {0, 1, 2, 3}


def test_pose_images_are_plain_and_targets_are_normalised(sets: list[DataSet]) -> None:
    key = source(sets, "pose_estimation_6d_mini")
    norm = key.data.info.label_norm
    assert norm is not None
    targets = []
    for batch in (batches(sets, replace(CONFIG, tasks=(key.head,)))[s] for s in range(30)):
        assert batch.images.shape == (8, 3, 32, 32)
        assert batch.target is not None
        assert batch.partner is not None
        self_paired = torch.equal(batch.partner, torch.arange(8))
        motion = torch.tensor(norm.restore(batch.target.numpy().astype(np.float64))[:, :3])
        assert self_paired == bool((motion.abs() < 1e-4).all())
        targets.append(batch.target)
    spread = torch.cat(targets).std(0)
    assert bool(((spread > 0.5) & (spread < 1.6)).all())


def test_3d_targets_are_other_minus_self_in_mm(sets: list[DataSet]) -> None:
    probe = source(sets, "pose_estimation_3d")
    assert probe.label_norm == LabelNorm.identity(3)
    batch = next(iter(validation_batches(probe, CONFIG, 32, 16)))
    assert batch.partner is not None
    assert batch.target is not None
    labels = [probe.data.splits["val"].labels(i) for i in range(8)]
    places = np.stack([position_mm(f, "s") for f in labels])
    np.testing.assert_allclose(batch.target, places[batch.partner.numpy()] - places, atol=1e-5)


def test_validation_is_the_same_every_time_and_never_pairs_an_image_with_itself(sets: list[DataSet]) -> None:
    for s in sources_of(sets, CONFIG):
        a, b = (list(validation_batches(s, CONFIG, 32, 16)) for _ in range(2))
        assert len(a) == len(s.data.splits["val"]) // 8
        assert all(equal(x, y) for x, y in zip(a, b, strict=True))
        assert not any(x.partner is not None and bool((x.partner == torch.arange(8)).any()) for x in a)
    assert len(list(validation_batches(s, replace(CONFIG, validation_batches=1), 32, 16))) == 1


def test_reconstruction_gets_noise_and_random_views(sets: list[DataSet]) -> None:
    data = batches(sets, replace(CONFIG, stage="pretrain", sets=("key",)))
    a = data[0]
    assert a.noise is not None
    assert a.noise.shape == (8, 16)
    assert 0.0 <= float(a.noise.min()) < float(a.noise.max()) < 1.0
    assert a.target is None


def test_reconstruction_sees_the_published_views(sets: list[DataSet]) -> None:
    key = next(s for s in sets if s.name == "key")
    first = batches(sets, replace(CONFIG, stage="pretrain", sets=("key",)))[0].images[0].numpy()
    assert key.info.crop_and_flip
    views = (
        augmented(key.splits["train"][i].image, key.preprocessing(32), Augmentation(), stream(0, "view", 0, 0))
        for i in range(40)
    )
    assert sum(np.array_equal(view, first) for view in views) == 1


def test_labels_of_the_whole_frame_get_the_whole_frame(sets: list[DataSet]) -> None:
    probe = next(s for s in sets if s.name == "probe")
    uncropped = replace(probe, info=replace(probe.info, crop_and_flip=False))
    shown = [probe.splits["train"][i].image for i in range(24)]
    plain = torch.from_numpy(np.stack([preprocess(image, probe.preprocessing(32)) for image in shown]))

    def all_plain(data: DataSet, head: str) -> bool:
        images = batches([data], replace(CONFIG, tasks=(head,)))[0].images
        return all(bool((plain == image).all(dim=3).all(dim=2).all(dim=1).any()) for image in images)

    assert all_plain(probe, "variance_estimation")
    assert all_plain(probe, "pose_estimation_3d")
    assert all_plain(uncropped, "cls_cnc")
    assert not all_plain(probe, "cls_cnc")


def test_limited_samples_are_the_first(sets: list[DataSet]) -> None:
    config = replace(CONFIG, tasks=("cls_cnc",), limit_samples=8)
    probe = next(s for s in sets if s.name == "probe")
    first = sorted(int(probe.splits["train"].labels(i)["obj_idx"]) for i in range(8))  # type: ignore[call-overload]
    for step in range(4):
        target = batches(sets, config)[step].target
        assert target is not None
        assert sorted(target.tolist()) == first


def test_a_task_that_no_set_serves_is_refused(sets: list[DataSet]) -> None:
    with pytest.raises(ConfigError, match="no set has labels for cls_objectfolder; the sets of data have: cls_cnc"):
        sources_of(sets, replace(CONFIG, tasks=("cls_cnc", "cls_objectfolder")))


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    images = [np.full((48, 64, 3), 90, np.uint8)] * 7 + [np.full((40, 64, 3), 90, np.uint8)]
    write_shard(folder / "train", 0, [Sample(f"s{i}", im, {"obj_idx": 0}) for i, im in enumerate(images)])
    write_count(folder / "train", 8)
    unit = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    write_info(folder, SetInfo("mini", ("cls_cnc",), unit, frame_px=(48, 64)))
    data = batches(open_sets(tmp_path))
    with pytest.raises(DataError, match=r"data-000000\.tar, sample 's7': .*40 x 64 .*expected 48 x 64"):
        data[0]
