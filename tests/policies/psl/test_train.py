"""Training repeats and resumes bit by bit, alone and with two workers."""

import json
import multiprocessing
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from policies.psl.published_task import make_published, make_published_task
from policies.psl.recall import CUES, SMALL, MakeRecall, make_policy
from torch import Tensor

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, ConfigError, DataError
from sinew_policies.common.training_processes import TrainingProcessDied
from sinew_policies.common.training_run import STATE_FILE
from sinew_policies.psl.actor_critic import SmallPolicy, SmallPolicyConfig
from sinew_policies.psl.ddppo import Workers
from sinew_policies.psl.ppo import PPOConfig
from sinew_policies.psl.train import train
from sinew_policies.psl.trainer import TrainConfig

PPO = PPOConfig(rollout_steps=8, epochs=2, minibatches=2, lr=3e-3)


def config(out: Path, updates: int = 4, **changes: object) -> TrainConfig:
    return TrainConfig(**{"out": out, "updates": updates, "ppo": PPO, **changes})  # type: ignore[arg-type]


def weights(out: Path) -> dict[str, Tensor]:
    return checkpoint.load_state(out / "weights")


def assert_equal(a: Path, b: Path) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert (a / "metrics.json").read_text() == (b / "metrics.json").read_text()


def test_an_interrupted_training_ends_bit_by_bit_like_one_that_was_not(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    assert train(config(tmp_path / "whole"), MakeRecall(), make_policy)
    assert not train(config(tmp_path / "cut", stop_after_updates=2), MakeRecall(), make_policy)
    assert len(json.loads((tmp_path / "cut/metrics.json").read_text())) == 2
    assert train(config(tmp_path / "cut"), MakeRecall(), make_policy)
    assert_equal(tmp_path / "whole", tmp_path / "cut")
    assert not list((tmp_path / "cut").rglob("*.partial"))
    assert signal.getsignal(signal.SIGINT) is handler, "Ctrl-C means what it meant before"
    other = config(tmp_path / "other", seed=1)
    assert train(other, MakeRecall(), make_policy)
    assert not torch.equal(weights(tmp_path / "other")["actor.weight"], weights(tmp_path / "whole")["actor.weight"])
    assert checkpoint.load_config(tmp_path / "whole/weights", SmallPolicyConfig) == SMALL


@pytest.mark.slow
def test_two_workers_repeat_and_resume_and_average(tmp_path: Path) -> None:
    two = {"processes": 2, "sync_frac": 1.0}
    assert train(config(tmp_path / "whole", 3, **two), MakeRecall(4), make_policy)
    assert not train(config(tmp_path / "cut", 3, **two, stop_after_updates=1), MakeRecall(4), make_policy)
    assert train(config(tmp_path / "cut", 3, **two), MakeRecall(4), make_policy)
    assert_equal(tmp_path / "whole", tmp_path / "cut")
    rows = json.loads((tmp_path / "whole/metrics.json").read_text())
    assert [r["steps"] for r in rows] == [64, 128, 192]  # 2 workers x 4 environments x 8 steps
    with pytest.raises(CheckpointError, match="'processes: 2' instead of 'processes: 1'"):
        train(config(tmp_path / "whole", 3, sync_frac=1.0), MakeRecall(4), make_policy)


@pytest.mark.slow
def test_two_workers_train_the_published_policy_and_share_its_input_statistics(tmp_path: Path) -> None:
    assert train(config(tmp_path, 2, processes=2), make_published_task, make_published)
    saved = weights(tmp_path)
    # 2 updates x 2 epochs x 2 minibatches, each with all frames of both workers: 2 x 1 environment x 8 steps.
    assert float(saved["net.layout_encoder.normalize._count"]) == 2 * 2 * 2 * 16
    assert not torch.equal(saved["critic.fc.bias"], torch.zeros(1))


def test_a_slow_worker_is_preempted(tmp_path: Path) -> None:
    c = config(tmp_path, 2, processes=2, sync_frac=0.5)
    assert train(c, MakeRecall(4, slow_rank=1, delay_s=0.3), make_policy)
    rows = json.loads((tmp_path / "metrics.json").read_text())
    # The slow one is stopped after a quarter of its 8 steps at the earliest and before the end.
    assert 2 * 4 * (8 + 2) <= rows[-1]["steps"] < 2 * 4 * (8 + 8)


def test_the_fault_of_another_worker_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TrainingProcessDied, match="reward of environment 0 is nan"):
        train(config(tmp_path, 3, processes=2), MakeRecall(4, nan_rank=1), make_policy)


@pytest.mark.slow
def test_a_fault_of_the_first_worker_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reward of environment 0 is nan"):
        train(config(tmp_path, 3, processes=2), MakeRecall(4, nan_rank=0), make_policy)
    assert not multiprocessing.active_children()


def test_a_fault_leaves_what_was_saved(tmp_path: Path) -> None:
    assert not train(config(tmp_path, stop_after_updates=2), MakeRecall(), make_policy)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(DataError, match="reward of environment 0 is nan"):
        train(config(tmp_path), MakeRecall(nan_rank=0), make_policy)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_states_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    assert train(config(tmp_path, 1, environment="walls: 3"), MakeRecall(), make_policy)
    with pytest.raises(CheckpointError, match="'walls: 3' instead of 'walls: 4'"):
        train(config(tmp_path, 1, environment="walls: 4"), MakeRecall(), make_policy)
    (tmp_path / STATE_FILE).unlink()
    assert train(config(tmp_path, 1), MakeRecall(), make_policy)
    with pytest.raises(CheckpointError, match="'seed: 0' instead of 'seed: 3'; use those, or choose another --out"):
        train(config(tmp_path, 1, seed=3), MakeRecall(), make_policy)
    wide = partial(SmallPolicy, SmallPolicyConfig(1, CUES, CUES, hidden=8))
    with pytest.raises(CheckpointError, match=r"(?s)cannot resume from .*; it belongs to another configuration"):
        train(config(tmp_path, 1), MakeRecall(), wide)
    with pytest.raises(CheckpointError, match=r"(?s)cannot resume from .*; it belongs to another configuration"):
        train(config(tmp_path, 1), MakeRecall(12), make_policy)
    (tmp_path / STATE_FILE).write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(CheckpointError, match="is damaged: choose another --out"):
        train(config(tmp_path, 1), MakeRecall(), make_policy)


def test_impossible_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="updates is 0; expected more than 0"):
        config(tmp_path, 0)
    with pytest.raises(ConfigError, match=r"sync_frac is 0\.0; expected above 0 and at most 1"):
        config(tmp_path, sync_frac=0.0)
    with pytest.raises(ConfigError, match=r"sync_frac is 1\.5"):
        Workers(sync_frac=1.5)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        train(config(tmp_path / "file" / "deeper"), MakeRecall(), make_policy)
