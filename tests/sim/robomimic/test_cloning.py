"""robomimic trains on the files that we write; what it cannot train on is refused before it starts."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import cli, episode_hdf5
from sinew_policies.common.episodes import Episode, EpisodeSet
from sinew_policies.common.errors import ConfigError, DataError, MissingExtra

pytest.importorskip("robomimic")

from sinew_sim.robomimic import torchvision_stand_in
from sinew_sim.robomimic.cloning import Request, train


def linear(count: int = 6, steps: int = 40) -> EpisodeSet:
    """Actions that are a linear function of the observation: cloning can learn them."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 2)).astype(np.float32)

    def one(k: int) -> Episode:
        states = rng.normal(size=(steps + 1, 5)).astype(np.float32)
        actions = np.tanh(states[:-1] @ weights)
        done = np.zeros(steps, bool)
        return Episode("made", states[:-1], actions, done.astype(np.float32), done, states[1:], "expert", k)

    return EpisodeSet("made", tuple(one(k) for k in range(count)))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "made.hdf5"
    episode_hdf5.write(path, linear(), masks={"train": [0, 1, 2]})
    return path


@pytest.mark.slow
def test_robomimics_cloning_learns_from_our_file(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "bc"
    words = ["--data", str(data), "--out", str(out), "--epochs", "6", "--steps", "40", "--mask", "train"]
    assert cli.main(["train", "robomimic", *words]) == 0
    assert (out / "model.pth").stat().st_size > 10_000
    again = train(Request(str(data), str(tmp_path / "again"), epochs=6, steps_per_epoch=40, mask="train"))
    assert again[-1] < 0.3 * again[0]
    assert "torchvision" not in sys.modules
    with pytest.raises(ConfigError, match="exists already"):
        train(Request(str(data), str(out)))


def test_bad_files_are_refused_before_robomimic_starts(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "bc"
    with pytest.raises(DataError, match="there is no mask 'valid'"):
        train(Request(str(data), str(out), mask="valid"))
    data.write_bytes(data.read_bytes()[:3000])
    with pytest.raises(DataError, match="truncated"):
        train(Request(str(data), str(out)))
    assert not out.exists()
    with pytest.raises(ConfigError, match="epochs 0"):
        Request(str(data), str(out), epochs=0)


def test_the_stand_in_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in torchvision_stand_in._NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(torchvision_stand_in.importlib.util, "find_spec", lambda _: None)
    torchvision_stand_in.install()
    from torchvision import models  # type: ignore[import-not-found]

    with pytest.raises(MissingExtra, match="torchvision"):
        models.resnet18()
    for name in torchvision_stand_in._NAMES:
        sys.modules.pop(name, None)
