"""What the stages of `sinew eval pearl` judge: pairs of tasks, their episodes, segments and scripted labels."""

from dataclasses import dataclass
from pathlib import Path

from sinew_policies.common.episodes import EpisodeSet, Segmented, cut, random_segments, whole_episodes
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F64
from sinew_policies.pearl.labels import PairLabels, from_matrix
from sinew_policies.pearl.scripted import preference
from sinew_sim.metaworld.collection import Progress, collect
from sinew_sim.metaworld.mixture import mixture
from sinew_sim.metaworld.tasks import canonical

WHOLE = 0  # length that stands for whole episodes


@dataclass(frozen=True)
class TaskPair:
    """Labels go from `source` to `target`."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}:{self.target}"


def parse_pairs(text: str) -> tuple[TaskPair, ...]:
    """Pairs of 'button-press:door-close,faucet-close:window-open', each once.

    Raises ConfigError for another form, an unknown task or a pair of a task with itself.
    """
    pairs = []
    for word in filter(None, (w.strip() for w in text.split(","))):
        source, colon, target = word.partition(":")
        if not colon or ":" in target:
            raise ConfigError(f"pair '{word}' is not SOURCE:TARGET; write pairs such as button-press:door-close")
        pair = TaskPair(canonical(source), canonical(target))
        if pair.source == pair.target:
            raise ConfigError(f"pair '{word}' carries labels of a task to itself; name two tasks")
        pairs.append(pair)
    if not pairs:
        raise ConfigError("there are no pairs; write --pairs SOURCE:TARGET,… such as button-press:door-close")
    return tuple(dict.fromkeys(pairs))


@dataclass(frozen=True)
class Collection:
    """How much is recorded of each task, and where it is kept."""

    episodes: int = 120
    steps: int = 150
    folder: Path = Path("data/metaworld")
    mixture: str = "graded"

    def get(
        self,
        task: str,
        seed: int,
        processes: int = 1,
        progress: Progress = lambda done, wanted: None,
    ) -> EpisodeSet:
        return collect(
            task,
            episodes=self.episodes,
            steps=self.steps,
            seed=seed,
            mixture=mixture(self.mixture),
            folder=self.folder,
            processes=processes,
            progress=progress,
        )


@dataclass(frozen=True)
class Labelled:
    """Segments of one task with the scripted label of every two."""

    segments: Segmented
    z: F64  # (N, N)

    @property
    def pairs(self) -> PairLabels:
        return from_matrix(self.z)


def labelled(episodes: EpisodeSet, length: int, seed: int) -> Labelled:
    """One segment of each episode: all of it for WHOLE, otherwise `length` steps from a random start.

    Raises DataError where episodes are too short or where all labels are ties, so that nothing could be judged.
    """
    places = (
        whole_episodes(episodes)
        if length in (WHOLE, *set(episodes.lengths.tolist()))
        else random_segments(episodes, len(episodes), length, seed)
    )
    segments = cut(episodes, places)
    z = preference(segments.success_steps, segments.returns)
    if (z == 0.5).all():
        raise DataError(
            f"task '{episodes.task}': all scripted labels of {len(segments)} segments are ties, which prefer "
            "nothing; record episodes of different quality or take longer segments"
        )
    return Labelled(segments, z)
