import os
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common.episodes import Episode, EpisodeSet, Segments
from sinew_policies.common.errors import DataError
from sinew_policies.pearl.preferences import COLUMNS, Preferences, from_matrix, read, write


@pytest.fixture
def episodes() -> EpisodeSet:
    zero = np.zeros((10, 3), np.float32)
    one = Episode("reach", zero, zero[:, :2], zero[:, 0], zero[:, 0] > 0, zero, "expert", 0)
    return EpisodeSet("reach", (one,) * 4)


def _preferences() -> Preferences:
    segments = Segments(np.array([0, 3, 1]), np.array([0, 2, 5]), 5)
    return Preferences(
        "reach", segments, np.array([[0, 1], [2, 0]]), np.array([0.5, 1 / 3]), ("scripted", "cpa:button-press")
    )


def test_what_is_written_is_read(episodes: EpisodeSet, tmp_path: Path) -> None:
    ours = _preferences()
    write(ours, tmp_path / "new" / "p.csv")
    theirs = read(tmp_path / "new" / "p.csv", episodes)
    assert theirs.sources == ours.sources
    assert np.array_equal(theirs.z, ours.z)
    for p, q in zip(ours.pairs.flatten(), theirs.pairs.flatten(), strict=True):
        assert ours.segments.episode_index[p] == theirs.segments.episode_index[q]
        assert ours.segments.start[p] == theirs.segments.start[q]
    assert [f.name for f in (tmp_path / "new").iterdir()] == ["p.csv"]


def test_a_matrix_without_its_abstentions() -> None:
    segments = Segments(np.arange(3), np.zeros(3, np.int64), 5)
    z = np.array([[0.5, 1, 0.2], [0, 0.5, 0.5], [0.8, 0.5, 0.5]])
    abstained = np.zeros((3, 3), bool)
    abstained[1, 2] = abstained[2, 1] = True
    found = from_matrix("reach", segments, z, "cpa:x", abstained=abstained)
    assert found.pairs.tolist() == [[0, 1], [0, 2]]
    assert found.z.tolist() == [1, 0.2]
    with pytest.raises(DataError, match="no labelled pairs"):
        from_matrix("reach", segments, z, "cpa:x", abstained=np.ones((3, 3), bool))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("reach,5,0,0,1,0,1.5,human", "label of pair 0 is 1.5"),
        ("reach,5,0,0,1,0,nan,human", "label of pair 0 is nan"),
        ("push,5,0,0,1,0,1,human", "line 2 is about task 'push'"),
        ("reach,5,9,0,1,0,1,human", "no episode 9 among 4"),
        ("reach,5,0,6,1,0,1,human", "steps 6 to 11 are outside episode 0"),
        ("reach,5,0,0,1,0,left,human", "line 2: .* is not a pair"),
        ("reach,5,0", "line 2: .* is not a pair"),
        ("reach,5,0,0,1,0,1,a\nreach,4,0,0,1,0,1,a", r"mixes segments of \[4, 5\] steps"),
        ("", "no pair"),
    ],
)
def test_damaged_files_are_refused(episodes: EpisodeSet, tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(",".join(COLUMNS) + "\n" + (row + "\n" if row else ""))
    with pytest.raises(DataError, match=message):
        read(path, episodes)


def test_other_files_are_refused(episodes: EpisodeSet, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\x80\x04\xff\xfe")
    with pytest.raises(DataError, match="cannot read preferences"):
        read(tmp_path / "p.csv", episodes)
    (tmp_path / "q.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="first line is"):
        read(tmp_path / "q.csv", episodes)
    with pytest.raises(DataError, match="cannot read preferences"):
        read(tmp_path / "missing.csv", episodes)
    (tmp_path / "wide.csv").write_text("x," * 1_000_000)
    with pytest.raises(DataError, match=r"wide\.csv has a line of over 100000 characters"):
        read(tmp_path / "wide.csv", episodes)
    (tmp_path / "long.csv").write_text(",".join(COLUMNS) + "\nreach,5," + "9" * 5000 + ",0,1,0,1,x\n")
    with pytest.raises(DataError, match=r"line 2: .* is not a pair") as fault:
        read(tmp_path / "long.csv", episodes)
    assert len(str(fault.value)) < 1000
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv are a folder or a device"):
        read(tmp_path / "pipe.csv", episodes)
