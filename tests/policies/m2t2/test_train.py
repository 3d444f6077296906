"""Training learns, resumes exactly, splits over processes, and stops cleanly."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from policies.m2t2.boxes import box_scene

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.training_run import STATE_FILE
from sinew_policies.m2t2.batches import TrainConfig
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.dataset import Augmentation, collate, load, make_sample
from sinew_policies.m2t2.losses import LossConfig, m2t2_loss
from sinew_policies.m2t2.network import M2T2
from sinew_policies.m2t2.shards import NO_GRASP, write_shard
from sinew_policies.m2t2.train import train
from sinew_policies.m2t2.trainer import WEIGHTS_FOLDER

NETWORK = replace(
    M2T2Config.small(),
    n_points=512,
    radius_0_m=0.03,
    width=0.25,
    token_width=32,
    ffn_width=32,
    n_layers=1,
    n_heads=2,
    n_grasp_queries=6,
    action_hidden=16,
)
LOSS = LossConfig.small()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boxes")
    write_shard(folder, [box_scene(i, n=1024) for i in range(8)])
    return folder


def config(data: Path, out: Path, **changes: object) -> TrainConfig:
    base = TrainConfig(data, out, steps=6, batch=2, processes=1, validate_every_s=1e9, n_validation=2)
    return replace(base, **changes)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_state(out / WEIGHTS_FOLDER)


def test_loss_falls_on_eight_scenes(data: Path) -> None:
    torch.manual_seed(0)
    network = M2T2(NETWORK).train()
    scenes, _ = load(data)
    rng = stream(0, "falls")
    batch, targets = collate([make_sample(s, NETWORK, Augmentation.none(), rng) for s in scenes], NETWORK)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    values = []
    for _ in range(25):
        optimiser.zero_grad()
        result = m2t2_loss(network, network(batch), targets, LOSS)
        result.total.backward()
        optimiser.step()
        values.append(float(result.total.detach()))
    assert values[-1] < 0.75 * values[0]


def test_augmentation_moves_labels_with_the_points(data: Path) -> None:
    """Contact directions point into the box: the opposite contact is again near a point of the same object."""
    scenes, _ = load(data)
    for seed in range(4):
        s = make_sample(scenes[seed], replace(NETWORK, n_points=1024), Augmentation(), stream(seed, "augment"))
        labelled = s.label >= 0
        opposite = s.points + s.contact_dir * s.width_m[:, None]
        distance = torch.cdist(torch.from_numpy(opposite[labelled]), torch.from_numpy(s.points[labelled])).amin(1)
        assert float(distance.median()) < 0.008
        assert abs(float((s.contact_dir * s.approach_dir)[labelled].sum(1).mean())) < 0.05


def test_resumed_run_equals_uninterrupted_run(data: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert train(config(data, whole), NETWORK, LOSS)
    # The schedule's length is the same, so an early end is an interruption.
    assert not train(config(data, halves, stop_after_steps=3), NETWORK, LOSS)
    assert train(config(data, halves), NETWORK, LOSS)
    a, b = weights(whole), weights(halves)
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_seed_fixes_the_weights_and_another_changes_them(data: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(data, tmp_path / name, steps=2, seed=seed), NETWORK, LOSS)
    a, b, c = (weights(tmp_path / n) for n in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


@pytest.mark.slow
def test_two_processes_stay_in_step(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert train(config(data, tmp_path / name, steps=3, processes=2), NETWORK, LOSS)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_ends(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sinew_policies.m2t2.train", "--data", str(data), "--out", str(tmp_path)]
    command += ["--steps", "100000", "--batch", "2", "--processes", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}) as run:
        assert run.stderr is not None
        line = ""
        while "training and" not in line:  # signals are handled from here on
            line = run.stderr.readline()
            assert line, "training ended before it started"
        started = time.monotonic()
        run.send_signal(number)
        run.communicate(timeout=120)
        assert run.returncode == 130
        assert time.monotonic() - started < 100
    assert (tmp_path / STATE_FILE).exists()
    assert json.loads((tmp_path / "metrics.json").read_text())["step"] >= 0


def test_foreign_state_is_refused(data: Path, tmp_path: Path) -> None:
    train(config(data, tmp_path, steps=1), NETWORK, LOSS)
    with pytest.raises(CheckpointError, match="another --out"):
        train(config(data, tmp_path, steps=2), replace(NETWORK, token_width=16), LOSS)
    with pytest.raises(CheckpointError, match="seed"):
        train(config(data, tmp_path, steps=2, seed=5), NETWORK, LOSS)
    (tmp_path / STATE_FILE).write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match=STATE_FILE):
        train(config(data, tmp_path, steps=2), NETWORK, LOSS)


def test_useless_data_and_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training scenes"):
        train(config(tmp_path, tmp_path / "out"), NETWORK, LOSS)
    scene = box_scene(0, n=256)
    bare = replace(scene, label=scene.label * 0 + NO_GRASP, width_m=scene.width_m * 0)
    write_shard(tmp_path, [bare])
    with pytest.raises(DataError, match="good grasp"):
        train(config(tmp_path, tmp_path / "out"), NETWORK, LOSS)
    with pytest.raises(ConfigError, match="--steps"):
        TrainConfig(tmp_path, tmp_path)
    for wrong in ({"batch": 0}, {"steps": 0}, {"seed": -1}, {"lr": float("nan")}, {"processes": 0}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is"):
            config(tmp_path, tmp_path, **wrong)
    with pytest.raises(ConfigError, match="divide"):
        TrainConfig(tmp_path, tmp_path, steps=1, batch=3, processes=2)
