"""Reward models: each step's reward is a Gaussian; policies learn from its mean, its sigma says how sure it is."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sinew_policies.common import checkpoint
from sinew_policies.common.episodes import EpisodeSet, Index
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F32, F64
from sinew_policies.pearl.normaliser import Normaliser
from sinew_policies.pearl.policy import mlp
from sinew_policies.pearl.preference_transformer import PreferenceTransformer, TransformerConfig

_LOG_SIGMA = (-4.0, 2.0)
_ROWS = 65_536  # steps evaluated together


@dataclass(frozen=True)
class RewardConfig:
    observation_dim: int
    action_dim: int
    context_steps: int  # length of the segments it was trained on; the transformer looks that far back
    backbone: Literal["mlp", "transformer"] = "mlp"
    hidden: tuple[int, ...] = (64, 64)  # of the MLP
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    mean_score: bool = False  # a segment's score is the mean over its steps, else the sum

    def __post_init__(self) -> None:
        if min(self.observation_dim, self.action_dim, self.context_steps, *self.hidden) < 1 or not self.hidden:
            raise ConfigError(
                f"reward model of {self.observation_dim} observation and {self.action_dim} action numbers, "
                f"{self.context_steps} steps, hidden layers {self.hidden}: every size must be at least 1"
            )
        if self.backbone == "transformer" and self.context_steps > self.transformer.max_steps:
            raise ConfigError(
                f"segments of {self.context_steps} steps, but transformer.max_steps is "
                f"{self.transformer.max_steps}; raise it or cut shorter segments"
            )


class GaussianReward(nn.Module):
    """Mean and log sigma of every step's reward."""

    temperature: Tensor

    def __init__(self, config: RewardConfig) -> None:
        super().__init__()
        self.config = config
        o_dim, a_dim = config.observation_dim, config.action_dim
        self.observation_scale, self.action_scale = Normaliser(o_dim), Normaliser(a_dim)
        self.register_buffer("temperature", torch.ones(()))  # of the preference probability, fitted after training
        self.backbone: nn.Module = (
            PreferenceTransformer(o_dim, a_dim, config.transformer)
            if config.backbone == "transformer"
            else mlp((o_dim + a_dim, *config.hidden, 2))
        )

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H) each, from raw observations (N, H, O) and actions (N, H, A)."""
        o, a = self.observation_scale(observations), self.action_scale(actions)
        if isinstance(self.backbone, PreferenceTransformer):
            mu, log_sigma = self.backbone(o, a)
        else:
            mu, log_sigma = self.backbone(torch.cat([o, a], -1)).unbind(-1)
        return mu, log_sigma.clamp(*_LOG_SIGMA)


class RewardModel:
    """A trained reward; takes and returns arrays."""

    def __init__(self, network: GaussianReward) -> None:
        self.network = network.eval()

    @property
    def config(self) -> RewardConfig:
        return self.network.config

    def mean(self, observations: F32, actions: F32) -> F32:
        """Mean reward (N, H) of every step of segments (N, H, O), (N, H, A).

        Raises DataError for other sizes or numbers that are not finite.
        """
        return self._evaluate(observations, actions)[0]

    def sigma(self, observations: F32, actions: F32) -> F32:
        """Standard deviation (N, H); otherwise as `mean`."""
        return np.exp(self._evaluate(observations, actions)[1])

    def score(self, observations: F32, actions: F32) -> F64:
        """(N,) what preferences compare: each segment's summed (or mean) reward."""
        mu = self.mean(observations, actions).astype(np.float64)
        return mu.mean(1) if self.config.mean_score else mu.sum(1)

    def probability(self, score: F64, pairs: Index) -> F64:
        """(K,) that the first segment of each pair (K, 2) is preferred, calibrated by the fitted temperature."""
        logit = (score[pairs[:, 0]] - score[pairs[:, 1]]) / float(self.network.temperature)
        return 0.5 * (1.0 + np.tanh(0.5 * logit))

    def step_rewards(self, episodes: EpisodeSet) -> F32:
        """Mean reward (K,) of every step of the set, in the order of `EpisodeSet.transitions`. A transformer judges
        a step at the end of the window of `context_steps` that ends there.
        """
        return np.concatenate([self._episode(e.observations, e.actions) for e in episodes.episodes])

    def save(self, folder: Path | str, card: str) -> None:
        checkpoint.save(folder, self.network.state_dict(), self.config, card)

    @staticmethod
    def load(folder: Path | str) -> "RewardModel":
        """Raises CheckpointError where the folder is not a whole reward folder."""
        network = GaussianReward(checkpoint.load_config(folder, RewardConfig))
        checkpoint.load_into(network, checkpoint.load_state(folder), folder)
        return RewardModel(network)

    def _episode(self, observations: F32, actions: F32) -> F32:
        window = self.config.context_steps
        if self.config.backbone == "mlp" or len(actions) == 1 or window == 1:
            return self.mean(observations[None], actions[None])[0]
        first = [self.mean(observations[None, :t], actions[None, :t])[0, -1] for t in range(1, window)]
        first = first[: len(actions)]
        if len(actions) < window:
            return np.array(first, np.float32)
        o = np.lib.stride_tricks.sliding_window_view(observations, window, axis=0).swapaxes(1, 2)
        a = np.lib.stride_tricks.sliding_window_view(actions, window, axis=0).swapaxes(1, 2)
        return np.concatenate([np.array(first, np.float32), self.mean(o, a)[:, -1]])

    @torch.no_grad()
    def _evaluate(self, observations: F32, actions: F32) -> tuple[F32, F32]:
        c = self.config
        if observations.ndim != 3 or observations.shape[2] != c.observation_dim:
            raise DataError(
                f"observations have shape {observations.shape}; this reward model expects (segments, steps, "
                f"{c.observation_dim})"
            )
        if actions.shape != (*observations.shape[:2], c.action_dim):
            raise DataError(
                f"actions have shape {actions.shape}; expected {(*observations.shape[:2], c.action_dim)} beside "
                f"observations of shape {observations.shape}"
            )
        if not (np.isfinite(observations).all() and np.isfinite(actions).all()):
            raise DataError("observations or actions hold NaN or infinite values; drop the damaged segments")
        size = max(1, _ROWS // max(1, observations.shape[1]))
        parts = [
            self.network(
                torch.from_numpy(np.ascontiguousarray(observations[k : k + size], np.float32)),
                torch.from_numpy(np.ascontiguousarray(actions[k : k + size], np.float32)),
            )
            for k in range(0, len(observations), size)
        ]
        mu, log_sigma = (torch.cat([p[i] for p in parts]).numpy() for i in (0, 1))
        return mu, log_sigma
