"""Episodes as HDF5 in robomimic's layout: read, checked as something that a stranger made, and written.

data                 attributes: total (steps of all demos), env_args (JSON: env_name, type, env_kwargs)
data/demo_K          attribute: num_samples; ours beside it: source, seed
data/demo_K/actions  (T, A); rewards (T,), dones (T,), successes (T,) (ours), obs/<key> and next_obs/<key> (T, …)
mask/<name>          names of the demos of a subset

`states` (the simulator's own) is neither written nor read, so robomimic trains on these files but cannot play
them back.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sinew_policies.common.episode_process import read_apart
from sinew_policies.common.episodes import Bool, Episode, EpisodeSet, Index
from sinew_policies.common.errors import DataError, MissingExtra, name_hint
from sinew_policies.common.types import F32

if TYPE_CHECKING:
    import h5py

STATE_KEY = "state"  # under which our own flat observations stand
LIMIT_BYTES = 4 * 1024**3  # of arrays in memory; a file of a few kilobytes can claim terabytes


def write(
    path: Path,
    episodes: EpisodeSet,
    masks: Mapping[str, Sequence[int]] | None = None,
    env_type: int = 2,
    env_kwargs: Mapping[str, str | int | float | bool] | None = None,
) -> None:
    """Writes the set to `path`; the file appears whole or not at all. `env_type` 2 is robomimic's gym.

    Raises DataError for a mask with an episode that is not there.
    """
    h5py = _h5py()
    for name, members in (masks or {}).items():
        wrong = [k for k in members if not 0 <= k < len(episodes)]
        if wrong or not len(members):
            raise DataError(
                f"{path}: mask '{name}' names episodes {wrong[:5]}; "
                f"expected at least one of 0 to {len(episodes) - 1}"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with h5py.File(partial, "w") as file:
            data = file.create_group("data")
            data.attrs["total"] = int(episodes.lengths.sum())
            data.attrs["env_args"] = json.dumps(
                {"env_name": episodes.task, "type": env_type, "env_kwargs": dict(env_kwargs or {})}
            )
            for k, episode in enumerate(episodes.episodes):
                _write_demo(data.create_group(f"demo_{k}"), episode)
            for name, members in (masks or {}).items():
                file.create_dataset(f"mask/{name}", data=np.array([f"demo_{k}" for k in members], dtype="S"))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(
    path: Path,
    mask: str | None = None,
    observation_keys: Sequence[str] | None = None,
    limit_bytes: int = LIMIT_BYTES,
    *,
    trusted: bool = False,
) -> EpisodeSet:
    """The demos of `path`, or those that `mask` names, sorted by their number.

    Observations are the given keys side by side; without keys, 'state' where it exists, otherwise every key of
    one number list per step, sorted by name (images are left out). Files without `successes` (all but ours) count
    a step as success where a reward of zeros and ones is 1, or, with denser rewards, where `dones` says so.

    A short-lived process reads the file, for libhdf5 can die of a damaged one; `trusted` files, which this process
    wrote itself, are read here.

    Raises DataError, naming file and key, for a file that is missing, damaged, truncated or hostile.
    """
    h5py = _h5py()
    if not trusted:
        return read_apart(path, mask, observation_keys, limit_bytes)
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise DataError(
            f"{path}: this is not an HDF5 file or it is truncated ({error}); copy or record it again"
        ) from error
    with file:
        try:
            return _Reader(path, file, limit_bytes).episodes(mask, observation_keys)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
            # What h5py raises once a header or a chunk is damaged.
            raise DataError(f"{path}: the file is damaged ({error}); copy or record it again") from error


class _Reader:
    """Every object is looked at before it is read: kind, link, shape, type, size."""

    def __init__(self, path: Path, file: "h5py.File", limit_bytes: int) -> None:
        self._path = path
        self._file = file
        self._limit_bytes = limit_bytes
        self._read_bytes = 0

    def episodes(self, mask: str | None, observation_keys: Sequence[str] | None) -> EpisodeSet:
        data = self._group(self._file, "data")
        demos = {_demo_number(name): name for name in data if _demo_number(name) is not None}
        if not demos:
            raise self._error(
                "data", "holds no demos", "expected groups demo_0, demo_1, …", "record episodes first"
            )
        names = [demos[number] for number in sorted(demos, key=lambda n: n or 0)]
        if mask is not None:
            names = self._masked(mask, names)
        task = self._task(data)
        return EpisodeSet(task, tuple(self._episode(data, name, task, observation_keys) for name in names))

    def _masked(self, mask: str, names: list[str]) -> list[str]:
        masks = self._group(self._file, "mask") if "mask" in self._file else {}
        if mask not in masks:
            raise DataError(f"{self._path}: there is no mask '{mask}'; {name_hint(mask, masks)}")
        dataset = self._dataset(masks, mask, f"mask/{mask}")
        if dataset.dtype.kind not in "SO" or dataset.ndim != 1:
            raise self._error(f"mask/{mask}", f"is {dataset.dtype}", "expected names of demos", "write it again")
        chosen = {v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in dataset[()]}
        unknown = sorted(chosen - set(names))
        if unknown or not chosen:
            raise self._error(
                f"mask/{mask}", f"names {unknown[:3] or 'nothing'}", "expected demos of this file", "write it again"
            )
        return [name for name in names if name in chosen]

    def _task(self, data: "h5py.Group") -> str:
        try:
            content = json.loads(data.attrs["env_args"])
            name = content["env_name"]
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            expected = 'expected JSON such as {"env_name": "Lift", …}'
            raise self._error("data", "has no usable attribute env_args", expected, "add it") from error
        if not isinstance(name, str) or not name:
            raise self._error("data", f"has env_name {name!r}", "expected a name", "correct env_args")
        return name

    def _episode(self, data: "h5py.Group", name: str, task: str, observation_keys: Sequence[str] | None) -> Episode:
        demo = self._group(data, name)
        where = f"data/{name}"
        actions = self._numbers(demo, "actions", where, 2)  # (T, A)
        steps = len(actions)
        claimed = demo.attrs.get("num_samples", steps)
        if np.shape(claimed) != () or int(claimed) != steps:
            raise self._error(
                where, f"has num_samples {claimed}", f"expected {steps}, as many as actions", "record it again"
            )
        observations = self._observations(self._group(demo, "obs"), f"{where}/obs", observation_keys)
        if "next_obs" in demo:
            after = self._observations(self._group(demo, "next_obs"), f"{where}/next_obs", observation_keys)
        else:
            after = np.concatenate([observations[1:], observations[-1:]])
        rewards = self._numbers(demo, "rewards", where, 1)
        source, seed = demo.attrs.get("source", "file"), demo.attrs.get("seed", -1)
        try:
            return Episode(
                task=task,
                observations=observations,
                actions=actions,
                rewards=rewards,
                successes=self._successes(demo, where, rewards),
                next_observations=after,
                source=str(source),
                seed=int(seed),
            )
        except (DataError, ValueError, TypeError) as error:
            raise DataError(f"{self._path}: {where}: {error}") from error

    def _observations(self, group: "h5py.Group", where: str, keys: Sequence[str] | None) -> F32:
        if keys is None:
            plain = sorted(k for k in group if self._dataset(group, k, f"{where}/{k}").ndim == 2)
            keys = [STATE_KEY] if STATE_KEY in plain else plain
        if not keys:
            raise self._error(
                where, "has no keys of one number list per step", "expected some", "name keys to read"
            )
        for key in keys:
            if key not in group:
                raise DataError(f"{self._path}: {where} has no '{key}'; {name_hint(key, group)}")
        parts = [self._numbers(group, key, where, 2) for key in keys]
        if len({len(part) for part in parts}) > 1:
            shapes = ", ".join(f"{key} {part.shape}" for key, part in zip(keys, parts, strict=True))
            raise self._error(where, f"has {shapes}", "expected equally many steps", "record it again")
        return np.concatenate(parts, 1)

    def _successes(self, demo: "h5py.Group", where: str, rewards: F32) -> Bool:
        if "successes" in demo:
            return self._numbers(demo, "successes", where, 1) > 0
        if np.isin(rewards, (0.0, 1.0)).all() or "dones" not in demo:
            return rewards >= 1.0
        return self._numbers(demo, "dones", where, 1) > 0

    def _numbers(self, group: "h5py.Group", key: str, where: str, ndim: int) -> F32:
        dataset = self._dataset(group, key, f"{where}/{key}")
        if dataset.dtype.kind not in "fiub" or dataset.ndim != ndim or 0 in dataset.shape:
            shape = "(steps, numbers)" if ndim == 2 else "(steps,)"
            raise self._error(
                f"{where}/{key}",
                f"has type {dataset.dtype} and shape {dataset.shape}",
                f"expected numbers of shape {shape}, not empty",
                "record it again",
            )
        values = np.asarray(dataset[()], np.float32)
        if not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise self._error(
                f"{where}/{key}", f"is not finite at step {step}", "expected finite numbers", "drop that demo"
            )
        return values

    def _group(self, parent: "h5py.Group", key: str) -> "h5py.Group":
        h5py = _h5py()
        self._check_link(parent, key)
        found = parent[key]
        if not isinstance(found, h5py.Group):
            raise self._error(f"{parent.name}/{key}", "is not a group", "expected a group", "record it again")
        return found

    def _dataset(self, parent: "h5py.Group", key: str, where: str) -> "h5py.Dataset":
        h5py = _h5py()
        self._check_link(parent, key)
        found = parent[key]
        if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual or found.shape is None:
            raise self._error(
                where, "is not an array stored in this file", "expected one", "write a self-contained copy"
            )
        size = int(np.prod([int(n) for n in found.shape], dtype=object)) * max(4, found.dtype.itemsize)
        self._read_bytes += size
        if self._read_bytes > self._limit_bytes:
            raise self._error(
                where,
                f"has shape {found.shape}, which brings the file to {self._read_bytes / 1e9:.1f} GB in memory",
                f"expected at most {self._limit_bytes / 1e9:.1f} GB",
                "read it in parts by masks, or raise limit_bytes",
            )
        return found

    def _check_link(self, parent: "h5py.Group", key: str) -> None:
        h5py = _h5py()
        if key not in parent:
            raise self._error(
                f"{parent.name}", f"has no '{key}'", f"found {sorted(parent)[:8]}", "is this robomimic's layout?"
            )
        if not isinstance(parent.get(key, getlink=True), h5py.HardLink):
            raise self._error(
                f"{parent.name}/{key}", "is a link out of its place", "expected data", "write a self-contained copy"
            )

    def _error(self, key: str, found: str, expected: str, remedy: str) -> DataError:
        return DataError(f"{self._path}: {key.removeprefix('/')} {found}; {expected}; {remedy}")


def _write_demo(group: "h5py.Group", episode: Episode) -> None:
    group.attrs["num_samples"] = episode.length
    group.attrs["source"] = episode.source
    group.attrs["seed"] = episode.seed
    dones = np.zeros(episode.length, np.int64)
    dones[-1] = 1
    arrays: dict[str, F32 | Bool | Index] = {
        "actions": episode.actions,
        "rewards": episode.rewards,
        "dones": dones,
        "successes": episode.successes,
        f"obs/{STATE_KEY}": episode.observations,
        f"next_obs/{STATE_KEY}": episode.next_observations,
    }
    for key, values in arrays.items():
        group.create_dataset(key, data=values, compression="gzip", compression_opts=1, shuffle=True)


def _demo_number(name: str) -> int | None:
    """7 of 'demo_7': demos are ordered by number, for 'demo_10' sorts before 'demo_2' as text."""
    prefix, _, number = name.rpartition("_")
    return int(number) if prefix == "demo" and number.isascii() and number.isdecimal() else None


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtra("h5py", "learning") from error
    return h5py
