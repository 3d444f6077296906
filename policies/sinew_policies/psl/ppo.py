"""Proximal policy optimisation of a recurrent policy over whole sequences."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.psl.actor_critic import ActorCritic
from sinew_policies.psl.rollout import Rollout, advantages_and_returns


@dataclass(frozen=True)
class PPOConfig:
    """Defaults are those of ZSON's HM3D v2 training, the nearest published ones."""

    rollout_steps: int = 64
    epochs: int = 2
    minibatches: int = 2  # each takes whole sequences of some of the environments
    clip: float = 0.2
    lr: float = 2.25e-4
    adam_eps: float = 1e-5
    weight_decay: float = 1e-6
    gamma: float = 0.99
    gae_lambda: float = 0.95
    value_coefficient: float = 0.5
    entropy_coefficient: float = 0.01
    gradient_clip: float = 0.2
    normalise_advantages: bool = False
    linear_decay: bool = False  # learning rate to 0 over the schedule

    def __post_init__(self) -> None:
        for name in ("rollout_steps", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("clip", "lr", "adam_eps", "gradient_clip"):
            value = getattr(self, name)
            if not (value > 0.0 and math.isfinite(value)):
                raise ConfigError(f"{name} is {value}; expected a finite number above 0")
        for name in ("weight_decay", "value_coefficient", "entropy_coefficient"):
            value = getattr(self, name)
            if not (value >= 0.0 and math.isfinite(value)):
                raise ConfigError(f"{name} is {value}; expected a finite number, 0 or more")
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 0 to 1")


@dataclass(frozen=True)
class UpdateStats:
    """Means over the minibatches of an update."""

    policy_loss: float
    value_loss: float
    entropy: float
    kl: float  # approximate divergence from the policy that collected
    clipped: float  # fraction of steps whose ratio lay outside the clip range
    gradient_norm: float


class PPO:
    """Optimiser of one network; `average_gradients` is where several processes meet."""

    def __init__(
        self,
        network: ActorCritic,
        config: PPOConfig,
        seed: int,
        rank: int = 0,
        average_gradients: Callable[[list[nn.Parameter]], None] = lambda parameters: None,
    ) -> None:
        self._network, self._config = network, config
        self._seed, self._rank, self._average = seed, rank, average_gradients
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(
            self._parameters, lr=config.lr, eps=config.adam_eps, weight_decay=config.weight_decay
        )

    def update(self, rollout: Rollout, index: int, progress: float = 0.0) -> UpdateStats:
        """Learns from update number `index`'s rollout; `progress` 0..1 of the schedule sets the learning rate.

        Raises ConfigError where the environments do not divide into minibatches, DataError where a loss is not
        finite; then the weights are those of the last minibatch that was.
        """
        c = self._config
        for group in self.optimiser.param_groups:
            group["lr"] = c.lr * (max(0.0, 1.0 - progress) if c.linear_decay else 1.0)
        advantages, returns = advantages_and_returns(rollout, c.gamma, c.gae_lambda)
        if c.normalise_advantages:
            advantages = (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)
        self._network.train()
        rows = [
            self._minibatch(rollout, advantages, returns, envs, draw)
            for epoch in range(c.epochs)
            for draw in [stream(self._seed, "augmentation", self._rank, index, epoch)]
            for envs in self._split(rollout.actions.shape[1], index, epoch)
        ]
        return UpdateStats(*(float(m) for m in torch.tensor(rows, dtype=torch.float64).mean(0)))

    def _split(self, n_envs: int, index: int, epoch: int) -> Iterator[Tensor]:
        if n_envs % self._config.minibatches:
            raise ConfigError(
                f"{n_envs} environments do not divide into {self._config.minibatches} minibatches; "
                "change one of the two"
            )
        order = stream(self._seed, "minibatches", self._rank, index, epoch).permutation(n_envs)
        yield from (torch.from_numpy(part) for part in np.split(order, self._config.minibatches))

    def _minibatch(
        self, rollout: Rollout, advantages: Tensor, returns: Tensor, envs: Tensor, draw: np.random.Generator
    ) -> list[float]:
        c = self._config
        envs = envs.to(rollout.actions.device)
        out = self._network(
            self._network.augment({name: o[:, envs] for name, o in rollout.observations.items()}, draw),
            rollout.previous_actions[:, envs],
            rollout.masks[:, envs],
            rollout.state[envs],
        )
        log_p = torch.log_softmax(out.logits.float(), -1)  # (T, n, actions)
        taken = log_p.gather(-1, rollout.actions[:, envs, None])[..., 0]
        log_ratio = taken - rollout.log_probs[:, envs]
        ratio, advantage = log_ratio.exp(), advantages[:, envs]
        policy_loss = -torch.min(ratio * advantage, ratio.clamp(1 - c.clip, 1 + c.clip) * advantage).mean()
        value_loss = 0.5 * (out.values.float() - returns[:, envs]).square().mean()
        entropy = -(log_p.exp() * log_p).sum(-1).mean()
        total = policy_loss + c.value_coefficient * value_loss - c.entropy_coefficient * entropy
        if not bool(torch.isfinite(total)):
            raise DataError(
                f"the loss is {float(total.detach())} (policy {float(policy_loss.detach())}, value "
                f"{float(value_loss.detach())}); lower the learning rate or the rewards' scale"
            )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        self._average(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, c.gradient_clip)
        self.optimiser.step()
        with torch.no_grad():
            kl = (ratio - 1.0 - log_ratio).mean()
            clipped = ((ratio - 1.0).abs() > c.clip).float().mean()
            stats = (policy_loss, value_loss, entropy, kl, clipped, norm)
            row = [float(v.detach()) for v in stats]
        assert len(row) == len(fields(UpdateStats))
        return row
