"""Sets of episodes of one task: reproducible, in parallel, kept as files, resumed where interrupted."""

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import fields
from functools import cache
from pathlib import Path

from sinew_policies.common import episode_hdf5
from sinew_policies.common.episodes import Episode, EpisodeSet
from sinew_policies.common.errors import ConfigError, DataError
from sinew_sim.metaworld.behaviours import record
from sinew_sim.metaworld.environment import HORIZON_STEPS, TaskEnvironment
from sinew_sim.metaworld.mixture import GRADED, QualityMix, kinds
from sinew_sim.metaworld.tasks import canonical
from sinew_sim.worker_pool import worker_pool

Progress = Callable[[int, int], None]  # episodes kept, episodes wanted
_ATTEMPTS = 60  # to play an episode that turns out as its mixture wants


def collect(
    task: str,
    *,
    episodes: int = 120,
    steps: int = 150,
    seed: int,
    mixture: QualityMix = GRADED,
    folder: Path | None = None,
    processes: int = 1,
    progress: Progress = lambda done, wanted: None,
) -> EpisodeSet:
    """`episodes` trials of `steps` steps. The same arguments give the same numbers, whatever `processes`.

    With a `folder` the set is read from it where it exists, and otherwise saved in it, round by round: an
    interrupted collection goes on where it stopped.
    Raises ConfigError for an unknown task, numbers outside their range or a mixture that cannot be met.
    """
    task = canonical(task)
    if episodes < 1 or processes < 1 or not 1 <= steps <= HORIZON_STEPS:
        raise ConfigError(
            f"asked for {episodes} episodes of {steps} steps in {processes} processes; expected at least "
            f"1 episode and process, and 1 to {HORIZON_STEPS} steps"
        )
    file = data_file(folder, task, episodes, steps, seed, mixture) if folder is not None else None
    if file is not None and file.exists():
        found = episode_hdf5.read(file)
        progress(len(found), episodes)
        return found
    parts = file.with_suffix(".parts") if file is not None else None
    kept: list[Episode] = []
    with _Workers(processes) as workers:
        while len(kept) < episodes:
            first = len(kept)
            part = parts / f"{first:05d}.hdf5" if parts is not None else None
            fresh = _saved_part(part) if part is not None else None
            if fresh is None:
                # A round's kinds depend on its place alone, so a resumed collection meets the same ones.
                chosen = kinds(mixture, mixture.period, seed, task, first)
                fresh = workers.record(task, chosen, mixture, steps, seed, first)
                if part is not None:
                    episode_hdf5.write(part, EpisodeSet(task, fresh))
            kept.extend(fresh)
            progress(min(len(kept), episodes), episodes)
    found = EpisodeSet(task, tuple(kept[:episodes]))
    if file is not None and parts is not None:
        episode_hdf5.write(file, found, env_kwargs={"seed": seed, "steps": steps, "mixture": mixture.name})
        shutil.rmtree(parts, ignore_errors=True)
    return found


def data_file(folder: Path, task: str, episodes: int, steps: int, seed: int, mixture: QualityMix) -> Path:
    """Where `collect` keeps that set; a mixture that was changed has another name."""
    settings = [
        (f.name, getattr(mixture, f.name)) for f in fields(mixture)[1:] if f.default != getattr(mixture, f.name)
    ]
    tag = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
    return folder / f"{canonical(task)}_{mixture.name}-{tag}_{episodes}x{steps}_seed{seed}.hdf5"


def _saved_part(part: Path) -> tuple[Episode, ...] | None:
    if not part.exists():
        return None
    try:
        return episode_hdf5.read(part).episodes
    except DataError:
        part.unlink()  # damaged by a crash of the machine: played again
        return None


class _Workers(ExitStack):
    """Plays episodes here, or in child processes that are started for the first of them."""

    def __init__(self, processes: int) -> None:
        super().__init__()
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def record(
        self, task: str, chosen: tuple[str, ...], mix: QualityMix, steps: int, seed: int, first: int
    ) -> tuple[Episode, ...]:
        jobs = [(task, kind, mix, steps, seed, first + k) for k, kind in enumerate(chosen)]
        if self._processes == 1:
            return tuple(_play(*job) for job in jobs)
        if self._pool is None:
            self._pool = self.enter_context(worker_pool(self._processes))
        futures: list[Future[Episode]] = [self._pool.submit(_play, *job) for job in jobs]
        return tuple(future.result() for future in futures)


def _play(task: str, kind: str, mix: QualityMix, steps: int, seed: int, number: int) -> Episode:
    for attempt in range(_ATTEMPTS):
        names = (number, attempt) if attempt else (number,)
        episode = record(_environment(task), kind, mix, steps, seed, *names)
        if not mix.only_experts_succeed or episode.succeeded == (kind == "expert"):
            return episode
    wanted = "succeeded" if kind == "expert" else "failed"
    raise ConfigError(
        f"task '{task}': none of {_ATTEMPTS} episodes of kind '{kind}' {wanted} within {steps} steps, as mixture "
        f"'{mix.name}' wants; take more steps or another mixture"
    )


@cache
def _environment(task: str) -> TaskEnvironment:
    return TaskEnvironment(task)
