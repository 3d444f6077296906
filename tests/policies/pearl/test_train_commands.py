import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import episode_hdf5
from sinew_policies.common.cli import main
from sinew_policies.common.episodes import Episode, EpisodeSet, whole_episodes
from sinew_policies.common.seeds import stream
from sinew_policies.common.training_run import STATE_FILE
from sinew_policies.pearl import preferences
from sinew_policies.pearl.policy import Policy
from sinew_policies.pearl.reward import RewardModel
from sinew_policies.pearl.reward_training import RewardTraining

pytest.importorskip("h5py")
STEPS = ["steps=40", "hidden=[8]", "batch_pairs=64"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with episodes whose reward is their first observation number, and labels of all their pairs."""
    made = []
    for k in range(30):
        rng = stream(k, "episode")
        o = rng.normal(k / 10, 1, (9, 3)).astype(np.float32)
        a = rng.uniform(-1, 1, (8, 2)).astype(np.float32)
        made.append(Episode("toy", o[:-1], a, o[:-1, 0].copy(), np.zeros(8, bool), o[1:], "random", k))
    episodes = EpisodeSet("toy", tuple(made))
    episode_hdf5.write(tmp_path / "toy.hdf5", episodes)
    score = episodes.returns
    z = np.where(score[:, None] > score[None], 1.0, np.where(score[:, None] < score[None], 0.0, 0.5))
    labels = preferences.from_matrix("toy", whole_episodes(episodes), z, "scripted")
    preferences.write(labels, tmp_path / "labels.csv")
    return tmp_path


def _reward(files: Path, out: str, *more: str) -> int:
    fixed = ["--episodes", str(files / "toy.hdf5"), "--preferences", str(files / "labels.csv")]
    return main(["train", "reward", *fixed, "--out", str(files / out), *more, *STEPS])


def _policy(files: Path, out: str, *more: str) -> int:
    fixed = ["--episodes", str(files / "toy.hdf5"), "--out", str(files / out)]
    return main(["train", "policy", *fixed, *more, "steps=20", "hidden=[8]", "batch=16"])


def test_from_labels_to_a_policy_with_its_controls(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _reward(files, "reward", "--json", str(files / "reward.json")) == 0
    report = json.loads((files / "reward.json").read_text())
    assert report["command"] == "train reward"
    assert report["metrics"]["pair_accuracy"]["value"] > 0.8
    card = (files / "reward" / "weights" / "card.md").read_text()
    assert "labels from: scripted" in card
    assert _policy(files, "policy", "--reward", str(files / "reward" / "weights"), "--controls") == 0
    for folder in ("weights", "controls/zero", "controls/random", "controls/flipped"):
        assert Policy.load(files / "policy" / folder).act(np.zeros(3, np.float32)).shape == (2,)
    assert _policy(files, "recorded", "--reward", "recorded") == 0
    assert _policy(files, "cloned", "--method", "cloning", "--json", str(files / "c.json")) == 0
    assert json.loads((files / "c.json").read_text())["metrics"]["imitation_error"]["value"] < 2
    assert "held-out pair accuracy" in capsys.readouterr().out


def test_uncertain_transferred_labels_are_left_out(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = episode_hdf5.read(files / "toy.hdf5")
    ahead = episodes.returns[:, None] - episodes.returns[None]
    near = np.abs(ahead) < np.median(np.abs(ahead))
    z = 0.5 + 0.5 * np.sign(ahead) * np.where(near, -0.4, 0.9)  # what is uncertain is wrong
    labels = preferences.from_matrix("toy", whole_episodes(episodes), z, f"{preferences.TRANSFERRED}other")
    preferences.write(labels, files / "labels.csv")
    words = ("--least-confidence", "0.5", "--json", str(files / "reward.json"))
    assert _reward(files, "reward", *words) == 0
    report = json.loads((files / "reward.json").read_text())
    assert report["metrics"]["pair_accuracy"]["value"] > 0.9
    confident = int((~near[np.triu_indices(30, 1)]).sum())
    assert f"learnt from {confident} of {len(labels)} labels" in capsys.readouterr().out
    assert _reward(files, "none", "--least-confidence", "0.95") == 2
    assert "most certain of 435 transferred labels has confidence 0.90" in capsys.readouterr().err
    assert _reward(files, "none", "--least-confidence", "nan") == 2
    assert "least_confidence is nan; expected 0" in capsys.readouterr().err


def test_interrupted_and_resumed_gives_the_same_weights(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _reward(files, "whole") == 0
    block = RewardTraining.block

    def interrupted(self: RewardTraining) -> None:
        block(self)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RewardTraining, "block", interrupted)
    assert _reward(files, "stopped") == 130
    assert not (files / "stopped" / "weights").exists()
    monkeypatch.setattr(RewardTraining, "block", block)
    assert _reward(files, "stopped") == 0
    whole, resumed = (
        RewardModel.load(files / run / "weights").network.state_dict() for run in ("whole", "stopped")
    )
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)


def test_bad_input_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _reward(files, "run") == 0
    assert _reward(files, "run", "--seed", "1") == 2
    assert "'seed: 0' instead of 'seed: 1'" in capsys.readouterr().err
    (files / "run" / STATE_FILE).write_bytes(b"damaged")
    assert _reward(files, "run") == 2
    assert "or is damaged" in capsys.readouterr().err
    assert _policy(files, "p") == 2
    assert "IQL needs --reward" in capsys.readouterr().err
    assert _policy(files, "p", "--method", "cloning", "--controls") == 2
    assert "cloning uses no reward" in capsys.readouterr().err
    assert _policy(files, "p", "--reward", str(files / "nowhere")) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    assert _policy(files, "p", "--reward", "recorded", "bta=2") == 2
    assert "did you mean 'beta'" in capsys.readouterr().err
    assert not (files / "p").exists()
