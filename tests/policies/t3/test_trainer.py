from dataclasses import replace
from pathlib import Path

import pytest
import torch
from policies.t3.touch_sets import SHAPE, write_set

from sinew_policies.common.errors import CheckpointError, ConfigError, DataError
from sinew_policies.common.training_run import STATE_FILE
from sinew_policies.t3 import components
from sinew_policies.t3.network import T3
from sinew_policies.t3.starting import starting_network
from sinew_policies.t3.train import SETS_FOLDER, train
from sinew_policies.t3.train_config import FRESH, TrainConfig
from sinew_policies.t3.trainer import BEST_FOLDER, LAST_FOLDER, TrainingDiverged

PROBE_TASKS = ("cls_cnc", "pose_estimation_3d", "variance_estimation")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_set(folder / "ball", ("pose_estimation_3d",), 480, 96, indenters=("dome",))
    write_set(folder / "key", ("pose_estimation_6d_mini",), 48, 12, indenters=("key",))
    write_set(folder / "probe", PROBE_TASKS, 48, 12)
    return folder


@pytest.fixture(scope="module")
def config(data: Path) -> TrainConfig:
    return TrainConfig(
        "supervise", data, Path(), 8, batch=12, sets=("key", "probe"), shape=SHAPE, lr=1e-3, validate_every=4
    )


@pytest.fixture(scope="module")
def supervised(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("supervised")
    assert train(replace(config, out=out)).finished
    return out / BEST_FOLDER


def weights(out: Path, folder: str = LAST_FOLDER) -> dict[str, torch.Tensor]:
    return dict(components.load(out / folder).state_dict())


def changed(before: T3, after: T3, part: str) -> bool:
    a, b = before.state_dict(), after.state_dict()
    names = [n for n in a if n.startswith(part)]
    assert names
    return any(not torch.equal(a[n], b[n]) for n in names)


def test_training_finds_held_out_positions_much_better_than_their_mean(data: Path, tmp_path: Path) -> None:
    trained = train(
        TrainConfig(
            "supervise",
            data,
            tmp_path,
            60,
            batch=48,
            sets=("ball",),
            shape=SHAPE,
            lr=2e-3,
            validate_every=20,
            validation_batches=2,
        )
    )
    assert trained.best is not None
    losses = [v.loss for v in trained.history]
    assert losses[-1] < 0.5 * losses[0]
    found = trained.best.scores[0].metrics
    assert found["translation_rmse"].value < 0.3 * found["translation_rmse_of_mean"].value
    assert found["translation_rmse"].n == 96


@pytest.mark.parametrize("cross", [False, True])
def test_reconstruction_learns(config: TrainConfig, tmp_path: Path, cross: bool) -> None:
    c = replace(
        config, stage="pretrain", sets=("ball",), steps=25, batch=24, lr=5e-3, validate_every=5, out=tmp_path
    )
    trained = train(replace(c, cross_reconstruction=cross))
    seen = [v.training_loss["mini/mae_recon_single"] for v in trained.history]
    assert seen[-1] < 0.85 * seen[0]
    assert trained.history[-1].loss < 0.85 * trained.history[0].loss


def test_an_interrupted_run_ends_with_the_very_same_weights(
    config: TrainConfig, supervised: Path, tmp_path: Path
) -> None:
    # With dropout, so that random numbers of the network take part, and an interruption between validations.
    c = replace(config, shape=replace(SHAPE, dropout=0.2), steps=7)
    whole = train(replace(c, out=tmp_path / "whole"))
    first = train(replace(c, out=tmp_path / "parts", stop_after_steps=3))
    assert not first.finished
    assert first.best is None
    second = train(replace(c, out=tmp_path / "parts"))
    assert second.finished
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert [v.loss for v in whole.history] == [v.loss for v in second.history]
    best, again = weights(tmp_path / "whole", BEST_FOLDER), weights(tmp_path / "parts", BEST_FOLDER)
    assert all(torch.equal(best[n], again[n]) for n in best)
    third = train(replace(c, out=tmp_path / "parts"))  # nothing left to do
    assert third.finished
    assert third.history == second.history


def test_stages_follow_each_other(config: TrainConfig, tmp_path: Path) -> None:
    pre = replace(config, stage="pretrain", out=tmp_path / "pre", steps=4)
    train(pre)
    start = tmp_path / "pre" / BEST_FOLDER
    sup = replace(config, start=start, out=tmp_path / "sup", steps=4)
    train(sup)
    done = components.load(tmp_path / "sup" / BEST_FOLDER)
    assert sorted(done.config.heads) == [
        "cls_cnc",
        "pose_estimation_3d",
        "pose_estimation_6d_mini",
        "variance_estimation",
    ]
    assert done.config.encoder.masking is None
    # The fixed positions of reconstruction are where the learned ones start.
    before = components.load(start, options=components.LoadOptions(masking=0.4)).encoder("mini").pos_embed
    moved = (done.encoder("mini").pos_embed - before).abs().max()
    assert 0.0 < moved < 0.02
    assert (tmp_path / "sup" / SETS_FOLDER / "key" / "set.yaml").is_file()


@pytest.mark.parametrize(
    ("freeze", "unfreeze_at", "still", "moving"),
    [
        ({"freeze_encoder": True}, None, ["encoders"], ["trunk", "decoders"]),
        ({"freeze_trunk": True}, None, ["trunk"], ["encoders", "decoders"]),
        ({"freeze_encoder": True, "freeze_trunk": True}, None, ["encoders", "trunk"], ["decoders"]),
        ({"freeze_encoder": True, "freeze_trunk": True}, 2, [], ["encoders", "trunk", "decoders"]),
    ],
)
def test_frozen_parts_stay(
    config: TrainConfig,
    supervised: Path,
    tmp_path: Path,
    freeze: dict[str, bool],
    unfreeze_at: int | None,
    still: list[str],
    moving: list[str],
) -> None:
    c = replace(
        config,
        stage="finetune",
        tasks=("cls_cnc",),
        start=supervised,
        out=tmp_path,
        unfreeze_at=unfreeze_at,
        steps=3,
        **freeze,
    )
    train(replace(c, stop_after_steps=2))
    start, halfway = components.load(supervised, heads=["cls_cnc"]), components.load(tmp_path / LAST_FOLDER)
    if unfreeze_at is not None:
        assert not changed(start, halfway, "encoders")
    train(c)
    end = components.load(tmp_path / LAST_FOLDER)
    assert not any(changed(start, end, part) for part in still)
    assert all(changed(start, end, part) for part in moving)


def test_parts_that_take_no_part_in_a_step_are_left_alone(config: TrainConfig, tmp_path: Path) -> None:
    """Not even decayed: the heads of other tasks, once trained, stay while only one is."""
    c = replace(config, out=tmp_path, weight_decay=0.5, steps=1, best_after=0)
    train(c)
    heads = ("cls_cnc", "pose_estimation_3d", "pose_estimation_6d_mini", "variance_estimation")
    before, after = starting_network(c, ("mini",), heads), components.load(tmp_path / LAST_FOLDER)
    assert sum(changed(before, after, f"decoders.{h}") for h in heads) == 1
    assert changed(before, after, "trunk")


def test_a_new_sensor_starts_from_a_named_one_or_fresh(
    config: TrainConfig, supervised: Path, tmp_path: Path
) -> None:
    write_set(tmp_path / "data" / "svelte", ("cls_cnc",), 24, 12, sensor="svelte")
    c = replace(
        config,
        stage="finetune",
        data=tmp_path / "data",
        sets=None,
        tasks=("cls_cnc",),
        start=supervised,
        steps=1,
        lr=1e-9,
    )
    with pytest.raises(CheckpointError, match=r"has no encoder svelte, only: mini.*--encoder-from fresh"):
        train(replace(c, out=tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"has no such encoder; did you mean 'mini'\?"):
        train(replace(c, encoder_from="minni", out=tmp_path / "wrong"))
    train(replace(c, encoder_from="mini", out=tmp_path / "from"))
    train(replace(c, encoder_from=FRESH, out=tmp_path / "fresh"))
    mini = components.load(supervised).encoder("mini").patch_embed.proj.weight.detach()
    ends = {n: components.load(tmp_path / n / BEST_FOLDER) for n in ("from", "fresh")}
    assert all(end.config.sensors == ("svelte",) for end in ends.values())
    weights_of = {n: e.encoder("svelte").patch_embed.proj.weight.detach() for n, e in ends.items()}
    distance = {n: float((w - mini).abs().max()) for n, w in weights_of.items()}
    assert distance["from"] < 1e-6 < 1e-3 < distance["fresh"]


def test_a_run_with_other_settings_is_not_resumed(config: TrainConfig, tmp_path: Path) -> None:
    train(replace(config, out=tmp_path, steps=1))
    with pytest.raises(CheckpointError, match=r"holds a run with lr 0\.001, not 0\.002; give the same settings"):
        train(replace(config, out=tmp_path, steps=1, lr=2e-3))


def test_a_damaged_state_is_refused_and_a_pickle_in_it_never_runs(config: TrainConfig, tmp_path: Path) -> None:
    c = replace(config, out=tmp_path, steps=2)
    train(c)
    path = tmp_path / STATE_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"cannot resume from .*training_state\.pt.*choose another --out"):
        train(c)
    torch.save({"step": _Harm(tmp_path / "harm")}, path)
    with pytest.raises(CheckpointError, match="cannot resume"):
        train(c)
    assert not (tmp_path / "harm").exists()


class _Harm:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> object:
        return Path.touch, (self._path,)


def test_a_loss_that_is_not_a_number_ends_the_run(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"the loss of mini/.* is (nan|inf) in step \d+; lower --lr"):
        train(replace(config, out=tmp_path, lr=1e12, steps=8, validate_every=100))


def test_nothing_is_written_when_the_data_are_damaged(config: TrainConfig, data: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "data" / "probe", PROBE_TASKS, 24, 12)
    shard = tmp_path / "data" / "probe" / "train" / "data-000000.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"probe/train/data-000000\.tar"):
        train(replace(config, data=tmp_path / "data", sets=None, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_wrong_label_ends_the_run_with_one_line(config: TrainConfig, tmp_path: Path, loaders: int) -> None:
    write_set(tmp_path / "data" / "probe", ("cls_cnc",), 12, 12)
    shard = tmp_path / "data" / "probe" / "train" / "data-000000.tar"
    content = shard.read_bytes()
    place = content.index(b'"obj_idx": ') + len(b'"obj_idx": ')
    shard.write_bytes(content[:place] + b"9" + content[place + 1 :])
    with pytest.raises(DataError, match=r"^shard .*data-000000\.tar, sample '00000': obj_idx is 9; .*0\.\.5$"):
        train(replace(config, data=tmp_path / "data", sets=None, out=tmp_path / "out", loaders=loaders))


def test_loader_processes_change_nothing(config: TrainConfig, tmp_path: Path) -> None:
    for loaders in (0, 2):
        train(replace(config, steps=4, out=tmp_path / str(loaders), loaders=loaders))
    a, b = weights(tmp_path / "0"), weights(tmp_path / "2")
    assert all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; expected a finite number above 0"),
        ({"batch": 5, "processes": 2}, "batch 5 does not divide by 2 processes"),
        ({"mix": "rot"}, "unknown mixing rule 'rot'"),
        ({"stage": "finetune"}, "finetune trains one head"),
        ({"unfreeze_at": 3}, "nothing is frozen"),
        ({"freeze_trunk": True}, "name a component folder to start from"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_settings_are_refused(config: TrainConfig, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(config, **change)
