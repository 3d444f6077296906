"""HDF5 in robomimic's layout: a round trip, and every kind of file that must be refused with its name and key."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import episode_hdf5
from sinew_policies.common.episodes import Episode, EpisodeSet
from sinew_policies.common.errors import DataError

h5py = pytest.importorskip("h5py")


def episodes(count: int = 12, steps: int = 7) -> EpisodeSet:
    rng = np.random.default_rng(0)

    def one(k: int) -> Episode:
        states = rng.normal(size=(steps + 1, 3)).astype(np.float32)
        actions = np.full((steps, 2), k / 100, np.float32)
        rewards, successes = rng.normal(size=steps).astype(np.float32), rng.random(steps) > 0.5
        return Episode("lift", states[:-1], actions, rewards, successes, states[1:], f"kind{k % 3}", k)

    return EpisodeSet("lift", tuple(one(k) for k in range(count)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.hdf5"
    episode_hdf5.write(path, episodes(), masks={"train": [0, 2, 11], "valid": [1]})
    return path


def test_what_is_written_is_read_in_numeric_order(file: Path) -> None:
    written, found = episodes(), episode_hdf5.read(file)
    assert found.task == "lift"
    for a, b in zip(written.episodes, found.episodes, strict=True):
        for name in ("observations", "actions", "rewards", "successes", "next_observations"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.source, a.seed) == (b.source, b.seed)


def test_masks_choose_demos(file: Path) -> None:
    assert [e.seed for e in episode_hdf5.read(file, mask="train").episodes] == [0, 2, 11]
    with pytest.raises(DataError, match="no mask 'tran'; did you mean 'train'"):
        episode_hdf5.read(file, mask="tran")
    with pytest.raises(DataError, match="mask 'x' names episodes"):
        episode_hdf5.write(file, episodes(), masks={"x": [12]})


def test_a_file_as_robomimic_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "lift.hdf5"
    with h5py.File(path, "w") as f:
        f.create_group("data").attrs["env_args"] = '{"env_name": "Lift", "type": 1, "env_kwargs": {}}'
        demo = f.create_group("data/demo_3")
        demo.attrs["num_samples"] = 4
        demo["actions"], demo["rewards"] = np.zeros((4, 7)), np.array([0.0, 0, 1, 1])
        demo["dones"], demo["states"] = np.array([0, 0, 0, 1]), np.zeros((4, 30))
        demo["obs/object"], demo["obs/eef_pos"] = np.ones((4, 10)), np.full((4, 3), 2.0)
        demo["obs/image"] = np.zeros((4, 8, 8, 3), np.uint8)
    found = episode_hdf5.read(path).episodes[0]
    np.testing.assert_array_equal(found.observations[0], [2.0] * 3 + [1.0] * 10)
    np.testing.assert_array_equal(found.successes, [False, False, True, True])
    assert episode_hdf5.read(path, observation_keys=["object"]).observation_dim == 10
    with pytest.raises(DataError, match="has no 'objct'; did you mean 'object'"):
        episode_hdf5.read(path, observation_keys=["objct"])


def _external_link(f: "h5py.File") -> None:
    del f["data/demo_0/actions"]
    f["data/demo_0/actions"] = h5py.ExternalLink("/etc/hostname", "/x")


def _external_storage(f: "h5py.File") -> None:
    del f["data/demo_0/rewards"]
    f["data/demo_0"].create_dataset("rewards", (7,), "f4", external=[("/etc/hostname", 0, 28)])


def _virtual(f: "h5py.File") -> None:
    layout = h5py.VirtualLayout((7,), "f4")
    layout[:] = h5py.VirtualSource("other.hdf5", "x", (7,))
    del f["data/demo_0/rewards"]
    f["data/demo_0"].create_virtual_dataset("rewards", layout)


def _bomb(f: "h5py.File") -> None:
    del f["data/demo_0/obs/state"]
    f["data/demo_0/obs"].create_dataset("state", (10**9, 10**4), "f4", chunks=(1000, 1000))


def _replace(key: str, value: object) -> Callable[["h5py.File"], None]:
    def harm(f: "h5py.File") -> None:
        del f[key]
        f[key] = value

    return harm


def _attribute(key: str, name: str, value: object) -> Callable[["h5py.File"], None]:
    def harm(f: "h5py.File") -> None:
        f[key].attrs[name] = value

    return harm


def _delete(key: str) -> Callable[["h5py.File"], None]:
    def harm(f: "h5py.File") -> None:
        del f[key]

    return harm


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_external_link, "data/demo_0/actions is a link out of its place"),
        (_external_storage, "data/demo_0/rewards is not an array stored in this file"),
        (_virtual, "data/demo_0/rewards is not an array stored in this file"),
        (_bomb, r"data/demo_0/obs/state has shape \(1000000000, 10000\)"),
        (_replace("data/demo_0/actions", np.full((7, 2), np.nan)), "data/demo_0/actions is not finite at step 0"),
        (_replace("data/demo_0/actions", np.zeros(7)), r"data/demo_0/actions has type float64 and shape \(7,\)"),
        (_replace("data/demo_0/actions", np.zeros((7, 2), complex)), "data/demo_0/actions has type complex128"),
        (_replace("data/demo_0/actions", [b"text"] * 7), "data/demo_0/actions has type"),
        (_replace("data/demo_0/actions", np.zeros((0, 2))), "data/demo_0/actions"),
        (_replace("data/demo_0/rewards", np.zeros(6)), "data/demo_0: .*rewards has shape"),
        (_replace("data/demo_0/obs/state", np.zeros((6, 3))), "data/demo_0: .*observations has shape"),
        (_replace("data/demo_0/obs", np.zeros(3)), "data/demo_0/obs is not a group"),
        (_delete("data/demo_0/obs"), "data/demo_0 has no 'obs'"),
        (_delete("data/demo_0/rewards"), "data/demo_0 has no 'rewards'"),
        (_delete("data"), "has no 'data'"),
        (_attribute("data/demo_0", "num_samples", 8), "data/demo_0 has num_samples 8; expected 7"),
        (_attribute("data", "env_args", "{"), "data has no usable attribute env_args"),
        (_attribute("data", "env_args", "[" * 100_000), "data has no usable attribute env_args"),
        (_replace("mask/train", [b"demo_99"]), r"mask/train names \['demo_99'\]"),
    ],
)
def test_a_hostile_or_damaged_file_is_refused_by_key(
    file: Path, harm: Callable[["h5py.File"], None], message: str
) -> None:
    with h5py.File(file, "r+") as f:
        harm(f)
    with pytest.raises(DataError, match=message) as error:
        episode_hdf5.read(file, mask="train")
    assert str(file) in str(error.value)


def test_truncated_and_foreign_files_are_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1000):
        file.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"not an HDF5 file or it is truncated|damaged"):
            episode_hdf5.read(file)
    with pytest.raises(DataError, match="no such file"):
        episode_hdf5.read(tmp_path / "nothing.hdf5")


def test_flipped_bytes_never_raise_anything_else(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(15):
        damaged = whole.copy()
        for place in rng.integers(0, len(whole), 20):
            damaged[place] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        with suppress(DataError):  # some flips hit nothing that is read
            episode_hdf5.read(file)


def test_an_interrupted_write_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()
    monkeypatch.setattr(episode_hdf5, "_write_demo", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        episode_hdf5.write(file, episodes(3))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
