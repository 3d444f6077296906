"""What a training run is told, and the batches that follow from it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import Dataset, Sampler

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.dataset import Augmentation, collate, make_sample
from sinew_policies.m2t2.network import SceneInput
from sinew_policies.m2t2.shards import TrainingScene
from sinew_policies.m2t2.targets import Targets


@dataclass(frozen=True)
class TrainConfig:
    data: Path
    out: Path
    steps: int | None = None  # length of the schedule
    minutes: float | None = None  # length by training time, whichever ends first
    seed: int = 0
    batch: int = 16  # scenes per step, over all processes
    processes: int = 2
    loaders: int = 0  # data worker processes per training process
    lr: float = 2e-3
    weight_decay: float = 0.05
    warm_up_steps: int = 100
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    mixed: bool = False  # bfloat16 autocast
    device: str = "cpu"
    checkpoint_every_s: float = 180.0
    validate_every_s: float = 600.0
    n_validation: int = 96
    limit_scenes: int | None = None
    stop_after_steps: int | None = None  # interrupt there, as a signal would

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ConfigError("training needs a length: give --steps N (reproducible) or --minutes M")
        for name in ("batch", "processes", "steps", "minutes", "lr", "limit_scenes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; expected more than 0")
        for name in ("seed", "loaders"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if self.batch % self.processes:
            raise ConfigError(f"batch {self.batch} does not divide by {self.processes} processes")


class Batches(Dataset[tuple[SceneInput, Targets]]):
    """Batch of step s for one process; a pure function of seed, step and process."""

    def __init__(self, scenes: list[TrainingScene], config: TrainConfig, network: M2T2Config, rank: int) -> None:
        self._scenes, self._config, self._network = scenes, config, network
        self._share = config.batch // config.processes
        self._first = rank * self._share
        self._order: tuple[int, list[int]] = (-1, [])

    def __getitem__(self, step: int) -> tuple[SceneInput, Targets]:
        samples = []
        first = step * self._config.batch + self._first
        for number in range(first, first + self._share):
            epoch, place = divmod(number, len(self._scenes))
            if self._order[0] != epoch:
                rng = stream(self._config.seed, "epoch", epoch)
                self._order = (epoch, rng.permutation(len(self._scenes)).tolist())
            scene = self._scenes[self._order[1][place]]
            rng = stream(self._config.seed, "sample", number)
            samples.append(make_sample(scene, self._network, Augmentation(), rng))
        return collate(samples, self._network)


class Steps(Sampler[int]):
    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self._first)
