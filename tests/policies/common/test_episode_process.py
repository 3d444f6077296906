"""A file that kills libhdf5 kills neither the reader's process nor its patience."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import episode_hdf5, episode_process
from sinew_policies.common.episodes import Episode, EpisodeSet
from sinew_policies.common.errors import DataError

pytest.importorskip("h5py")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    episodes = []
    for k, steps in enumerate((5, 1, 3)):
        states = rng.normal(size=(steps + 1, 4)).astype(np.float32)
        actions, rewards = rng.random((steps, 2), np.float32), rng.random(steps, np.float32)
        episodes.append(Episode("öffnen", states[:-1], actions, rewards, rewards > 0.5, states[1:], f"kind{k}", k))
    path = tmp_path / "data.hdf5"
    episode_hdf5.write(path, EpisodeSet("öffnen", tuple(episodes)), masks={"some": [0, 2]})
    return path


def test_what_comes_back_is_what_a_reader_here_finds(file: Path) -> None:
    for mask in (None, "some"):
        here, apart = (episode_hdf5.read(file, mask, ["state"], trusted=trusted) for trusted in (True, False))
        assert here.task == apart.task == "öffnen"
        for a, b in zip(here.episodes, apart.episodes, strict=True):
            assert (a.source, a.seed) == (b.source, b.seed)
            for name in ("observations", "actions", "rewards", "successes", "next_observations"):
                assert getattr(a, name).dtype == getattr(b, name).dtype
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_it_reads_within_a_limit_that_the_user_set(file: Path) -> None:
    code = (
        "import pathlib, sys; from sinew_policies.common.episode_hdf5 import read; read(pathlib.Path(sys.argv[1]))"
    )
    limited = 'ulimit -v 4000000; exec "$0" -c "$1" "$2"'
    subprocess.run(["sh", "-c", limited, sys.executable, code, str(file)], check=True)


def test_a_byte_that_kills_libhdf5_is_a_damaged_file(file: Path) -> None:
    """With HDF5 1.14 the process that reads this attribute ends with SIGSEGV."""
    content = bytearray(file.read_bytes())
    content[content.index(b"env_args") + 17] = 118  # its type: no longer text
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.hdf5: .*damaged"):
        episode_hdf5.read(file)


def test_a_pipe_does_not_keep_the_reader_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.hdf5")
    for path in (tmp_path, tmp_path / "pipe.hdf5"):
        with pytest.raises(DataError, match="is a folder or a device; name an HDF5 file"):
            episode_hdf5.read(path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", r"data\.hdf5: the process that read the file ended with SIGSEGV; the file is damaged"),
        ("exit 1", r"data\.hdf5: .* ended with exit status 1"),
        ("while :; do :; done", r"data\.hdf5: reading the file took over 0 s"),
        ("echo no such thing; exit 3", "no such thing"),
    ],
)
def test_however_the_reading_process_ends_the_file_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    python = file.with_name("python")
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(episode_process.sys, "executable", str(python))
    monkeypatch.setattr(episode_process, "_BASE_SECONDS", 0.3)
    with pytest.raises(DataError, match=message):
        episode_hdf5.read(file)
