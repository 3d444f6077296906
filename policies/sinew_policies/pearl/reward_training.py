"""Trains a Gaussian reward on preferences. Labels of segments from one episode are never independent, so episodes,
not pairs, are divided into those that train, those that stop the training, and those that judge it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from sinew_policies.common.episodes import Index, Segmented
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.pearl.calibration import fit_temperature
from sinew_policies.pearl.episode_split import Split, split_by_episode, within
from sinew_policies.pearl.preference_transformer import TransformerConfig
from sinew_policies.pearl.preferences import check_labels
from sinew_policies.pearl.reward import GaussianReward, RewardConfig, RewardModel
from sinew_policies.pearl.reward_losses import entropy_hinge, preference_loss, sampled_score
from sinew_policies.pearl.reward_scores import TIE_BAND, RewardScores, cross_entropy, judge


@dataclass(frozen=True)
class RewardTrainingConfig:
    """Defaults take seconds on one core; the paper's MLP has hidden layers of 256. Lambda (regulariser) and eta
    (entropy floor) are ours: the paper's were not available.
    """

    backbone: Literal["mlp", "transformer"] = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    steps: int = 300  # at most
    batch_pairs: int = 256
    steps_per_segment: int = 25  # drawn anew in every batch of the MLP; 0 = all
    lr: float = 1e-3
    weight_decay: float = 1e-4
    regulariser: float = 0.1
    entropy_floor: float = 2.0  # nats
    stop_share: float = 0.15  # of the episodes: decide when to stop, and the temperature
    test_share: float = 0.15  # of the episodes: only judged in the end
    evaluate_every: int = 20  # steps
    patience: int = 6  # evaluations without a better one

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_pairs, self.evaluate_every, self.patience) < 1 or self.lr <= 0.0:
            raise ConfigError(
                f"steps {self.steps}, batch_pairs {self.batch_pairs}, evaluate_every {self.evaluate_every}, "
                f"patience {self.patience}, lr {self.lr}: expected at least 1 each and lr > 0"
            )
        if min(self.stop_share, self.test_share) < 0.0 or self.stop_share + self.test_share >= 1.0:
            raise ConfigError(
                f"stop_share {self.stop_share} and test_share {self.test_share}: expected 0 or more and together "
                "below 1, so that episodes are left to train on"
            )
        if min(self.regulariser, self.weight_decay, self.steps_per_segment) < 0:
            raise ConfigError("regulariser, weight_decay and steps_per_segment must be 0 or more")


@dataclass(frozen=True)
class TrainedReward:
    model: RewardModel
    scores: RewardScores
    split: Split
    steps: int  # after which the kept weights were reached


def train_reward(
    segments: Segmented,
    pairs: Index,
    z: F64,
    config: RewardTrainingConfig,
    seed: int,
) -> TrainedReward:
    """Learns from labels z (K,) of pairs (K, 2) of segments; same arguments, same weights.

    Raises DataError for labels that do not fit, only ties, or too few episodes to divide.
    """
    training = RewardTraining(segments, pairs, z, config, seed)
    while not training.finished:
        training.block()
    return training.result()


class RewardTraining:
    """A training in progress; `block` goes on to the next evaluation."""

    def __init__(self, segments: Segmented, pairs: Index, z: F64, config: RewardTrainingConfig, seed: int) -> None:
        where = f"preferences of '{segments.task}'"
        check_labels(pairs, z, len(segments), where)
        if (np.abs(z - 0.5) <= TIE_BAND).all():
            raise DataError(
                f"{where}: all {len(z)} labels are ties (0.5), from which no reward can be learned; label pairs "
                "that differ, or take longer segments"
            )
        for name in ("observations", "actions"):
            if not np.isfinite(getattr(segments, name)).all():
                raise DataError(f"{where}: {name} hold NaN or infinite values; drop the damaged segments")
        self.config, self._seed, self._segments = config, seed, segments
        self._pairs, self._z = pairs, z
        self.split = split_by_episode(segments.episode_index, config.stop_share, config.test_share, seed)
        self._train = within(pairs, self.split.train)
        self._stop = within(pairs, self.split.stop)
        if not (np.abs(z[self._train] - 0.5) > TIE_BAND).any():
            raise DataError(
                f"{where}: no untied pair has both its segments in the {int(self.split.train.sum())} that train; "
                "label more pairs, or lower stop_share and test_share"
            )
        if config.stop_share > 0.0 and len(self._stop) == 0:
            raise DataError(
                f"{where}: no pair has both its segments among the {int(self.split.stop.sum())} that decide when "
                "to stop; label more pairs, or set stop_share=0 to train without early stopping"
            )
        _, steps, o_dim = segments.observations.shape
        model = RewardConfig(
            o_dim,
            segments.actions.shape[2],
            steps,
            config.backbone,
            config.hidden,
            config.transformer,
            mean_score=config.backbone == "transformer",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(seed, "reward weights").integers(2**62)))
            self._network = GaussianReward(model)
        self._observations = torch.from_numpy(np.ascontiguousarray(segments.observations, np.float32))
        self._actions = torch.from_numpy(np.ascontiguousarray(segments.actions, np.float32))
        kept = torch.from_numpy(self.split.train)
        self._network.observation_scale.fit(self._observations[kept].flatten(0, 1))
        self._network.action_scale.fit(self._actions[kept].flatten(0, 1))
        self._labels = torch.from_numpy(z.astype(np.float32))
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.steps_done, self.losses = 0, [0.0, 0.0]  # cross-entropy and regulariser of the last step
        self.best_step, self.best_loss, self._waited = 0, float("inf"), 0
        self._best = {k: v.clone() for k, v in self._network.state_dict().items()}

    @property
    def finished(self) -> bool:
        return self.steps_done >= self.config.steps or self._waited >= self.config.patience

    def block(self) -> None:
        """Steps to the next evaluation; keeps the weights if they are the best so far on the stopping episodes."""
        c = self.config
        size = min(c.evaluate_every, c.steps - self.steps_done)
        rng = stream(self._seed, "reward batches", self.steps_done)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))  # noise of the samples and dropout
            self._network.train()
            for _ in range(size):
                self._update(rng)
        loss = self._stopping_loss() if len(self._stop) else -float(self.steps_done)  # nothing held out: the last
        if loss < self.best_loss:
            self.best_loss, self.best_step, self._waited = loss, self.steps_done, 0
            self._best = {k: v.clone() for k, v in self._network.state_dict().items()}
        else:
            self._waited += 1

    def describe(self) -> str:
        return f"cross-entropy {self.losses[0]:.3f}, held out {self.best_loss:.3f} at step {self.best_step}"

    def result(self) -> TrainedReward:
        """The best weights so far, calibrated on the stopping episodes and judged on the test episodes."""
        network = GaussianReward(self._network.config)
        network.load_state_dict(self._best)
        model = RewardModel(network)
        score = model.score(self._segments.observations, self._segments.actions)
        if len(self._stop):
            a, b = self._pairs[self._stop].T
            network.temperature.fill_(fit_temperature(score[a] - score[b], self._z[self._stop]))
        judged = within(self._pairs, self.split.test)
        scores = judge(model, score, self._pairs[judged], self._z[judged])
        return TrainedReward(model, scores, self.split, self.best_step)

    def state(self) -> dict[str, object]:
        """All that `restore` needs to go on as if never stopped."""
        return {
            "network": self._network.state_dict(),
            "best": self._best,
            "optimiser": self._optimiser.state_dict(),
            "progress": [self.steps_done, self.best_step, self._waited],
            "losses": self.losses,
            "best_loss": self.best_loss,
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Raises an error of torch or of the mapping where the state is of another training."""
        self._network.load_state_dict(state["network"])  # type: ignore[arg-type]
        self._optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
        for name, value in self._best.items():
            value.copy_(state["best"][name])  # type: ignore[index]
        self.steps_done, self.best_step, self._waited = state["progress"]  # type: ignore[misc]
        self.losses, self.best_loss = list(state["losses"]), float(state["best_loss"])  # type: ignore[call-overload, arg-type]

    def _update(self, rng: np.random.Generator) -> None:
        c, network = self.config, self._network
        chosen = rng.integers(0, len(self._train), c.batch_pairs)
        index = torch.from_numpy(self._train[chosen])
        used, place = torch.unique(torch.from_numpy(self._pairs)[index], return_inverse=True)  # each segment once
        observations, actions = self._observations[used], self._actions[used]
        steps = observations.shape[1]
        share = 1.0
        if c.backbone == "mlp" and 0 < c.steps_per_segment < steps:
            drawn = torch.from_numpy(rng.permuted(np.tile(np.arange(steps), (len(used), 1)), axis=1))
            drawn = drawn[:, : c.steps_per_segment, None]  # (U, h, 1)
            observations, actions = observations.take_along_dim(drawn, 1), actions.take_along_dim(drawn, 1)
            share = steps / c.steps_per_segment
        mu, log_sigma = network(observations, actions)
        noise = torch.randn(len(used))
        # A part of the steps stands for all: means and variances grow with their number.
        score = sampled_score(mu, log_sigma, noise / share**0.5, mean=network.config.mean_score) * share
        first, second = place.unbind(1)
        loss = preference_loss(score[first], score[second], self._labels[index])
        floor = entropy_hinge(log_sigma, c.entropy_floor)
        self._optimiser.zero_grad(set_to_none=True)
        (loss + c.regulariser * floor).backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self.steps_done += 1
        self.losses = [float(loss.detach()), float(floor.detach())]

    def _stopping_loss(self) -> float:
        """Cross-entropy at the best temperature: which step to keep must not depend on the scale of the scores."""
        model = RewardModel(self._network)
        a, b = self._pairs[self._stop].T
        used, place = np.unique(np.concatenate([a, b]), return_inverse=True)
        score = model.score(self._segments.observations[used], self._segments.actions[used])
        first, second = place[: len(a)], place[len(a) :]
        logits, z = score[first] - score[second], self._z[self._stop]
        return cross_entropy(logits / fit_temperature(logits, z), z)
