"""robomimic trains on the files that we write; what it cannot train on is refused before it starts."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import cli, episode_hdf5
from sinew_policies.common.episodes import Episode, EpisodeSet
from sinew_policies.common.errors import ConfigError, DataError, MissingExtra

pytest.importorskip("robomimic")

from sinew_sim.robomimic import cloning, command, torchvision_stand_in
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


def test_a_file_that_kills_libhdf5_is_named_and_never_reaches_robomimic(data: Path, tmp_path: Path) -> None:
    content = bytearray(data.read_bytes())
    content[content.index(b"env_args") + 17] = 118  # its type: no longer text
    data.write_bytes(content)
    with pytest.raises(DataError, match=r"made\.hdf5: .*damaged"):
        train(Request(str(data), str(tmp_path / "bc")))
    assert not (tmp_path / "bc").exists()


def test_robomimic_opens_a_copy_that_we_wrote(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of robomimic's process: a copy of what it was given."""
    python, given = tmp_path / "python", tmp_path / "given.hdf5"
    python.write_text(f'#!/bin/sh\ncp "$4" {given}\n')
    python.chmod(0o755)
    monkeypatch.setattr(cloning.sys, "executable", str(python))
    monkeypatch.setattr(cloning.episode_hdf5, "read", partial(episode_hdf5.read, trusted=True))
    with pytest.raises(DataError, match="robomimic stopped after 0 of 20 epochs"):
        train(Request(str(data), str(tmp_path / "bc"), mask="train"))
    copied, original = episode_hdf5.read(given, trusted=True), episode_hdf5.read(data, "train", trusted=True)
    assert given.read_bytes() != data.read_bytes()
    for a, b in zip(copied.episodes, original.episodes, strict=True):
        np.testing.assert_array_equal(a.observations, b.observations)
        np.testing.assert_array_equal(a.actions, b.actions)
    assert sorted(p.name for p in (tmp_path / "bc").iterdir()) == ["request.json", "train.log"]


def test_a_folder_named_like_markup_is_printed_as_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "train", lambda request, progress: [0.5])
    out = tmp_path / "[/red]bc"
    assert cli.main(["train", "robomimic", "--data", str(data), "--out", str(out)]) == 0
    assert f"policy in {out}/model.pth" in capsys.readouterr().out.replace("\n", "")


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
