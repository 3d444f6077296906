"""The policy that offline training leaves: a Gaussian with a tanh mean and one spread per action number."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.types import F32
from sinew_policies.pearl.normaliser import Normaliser

LOG_STD = (-5.0, 2.0)  # limits of the learned spread


@dataclass(frozen=True)
class PolicyConfig:
    observation_dim: int
    action_dim: int
    hidden: tuple[int, ...] = (256, 256)

    def __post_init__(self) -> None:
        if min(self.observation_dim, self.action_dim, *self.hidden, 1) < 1 or not self.hidden:
            raise ConfigError(
                f"policy of {self.observation_dim} observation and {self.action_dim} action numbers with hidden "
                f"layers {self.hidden}: every size must be at least 1"
            )


class PolicyNetwork(nn.Module):
    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.normaliser = Normaliser(config.observation_dim)
        self.layers = mlp((config.observation_dim, *config.hidden, config.action_dim))
        self.log_std = nn.Parameter(torch.zeros(config.action_dim))

    def forward(self, observations: Tensor) -> Tensor:
        """Mean actions (…, A) in -1..1 of normalised observations (…, O)."""
        return torch.tanh(self.layers(observations))


class Policy:
    """Acts on raw observations by the mean of the Gaussian."""

    def __init__(self, network: PolicyNetwork) -> None:
        self.network = network.eval()

    @property
    def config(self) -> PolicyConfig:
        return self.network.config

    @torch.no_grad()
    def act(self, observations: F32) -> F32:
        """Actions (…, A) in -1..1 for observations (…, O).

        Raises DataError for another size or values that are not finite.
        """
        x = np.asarray(observations, np.float32)
        if x.shape[-1:] != (self.config.observation_dim,):
            raise DataError(
                f"observation has shape {x.shape}; this policy expects {self.config.observation_dim} numbers last"
            )
        if not np.isfinite(x).all():
            raise DataError("observation holds NaN or infinite values; no action was taken")
        return self.network(self.network.normaliser(torch.from_numpy(x))).numpy()

    def save(self, folder: Path | str, card: str) -> None:
        checkpoint.save(folder, self.network.state_dict(), self.config, card)

    @staticmethod
    def load(folder: Path | str) -> "Policy":
        """Raises CheckpointError where the folder is not a whole policy folder."""
        network = PolicyNetwork(checkpoint.load_config(folder, PolicyConfig))
        checkpoint.load_into(network, checkpoint.load_state(folder), folder)
        return Policy(network)


def mlp(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers with ReLU between them; weights are drawn from torch's generator."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
