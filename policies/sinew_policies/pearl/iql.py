"""Implicit Q-learning (arXiv 2110.06169) over a fixed set of transitions, written for one CPU thread.

Several rewards over the same transitions are learned from side by side (the reward in question and its controls):
all start from the same weights, see the same batches, and every layer is one batched product over them and over
both Q functions. Gradients are written out, as in `stacked`; tests/bench/pearl compares the steps with a plain
loop over autograd. One fused Adam steps all networks, the targets follow in one call, and the set lies in memory as
one packed array.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sinew_policies.common.episodes import Transitions
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32
from sinew_policies.pearl.policy import LOG_STD, Policy, PolicyConfig, PolicyNetwork
from sinew_policies.pearl.reward_scaling import check_rewards, standardised
from sinew_policies.pearl.stacked import StackedMLP

BLOCK = 250  # steps whose batches are drawn together; a training stops and resumes between blocks


@dataclass(frozen=True)
class IQLConfig:
    """Defaults reach a policy of a table-top task within minutes of one core; `published()` are the paper's."""

    steps: int = 3_000
    batch: int = 128
    hidden: tuple[int, ...] = (64, 64)
    expectile: float = 0.7
    beta: float = 1.0  # inverse temperature of the policy, per spread of the advantages
    discount: float = 0.97
    lr: float = 1e-3
    polyak: float = 0.02
    weight_clip: float = 100.0

    def __post_init__(self) -> None:
        if not 0.5 <= self.expectile < 1.0:
            raise ConfigError(f"expectile is {self.expectile}; expected 0.5 (the mean) to below 1")
        if not 0.0 <= self.discount < 1.0:
            raise ConfigError(f"discount is {self.discount}; expected 0 to below 1")
        if min(self.steps, self.batch) < 1 or not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"steps {self.steps}, batch {self.batch}, hidden {self.hidden}: expected at least 1")
        if self.beta < 0.0 or self.lr <= 0.0 or not 0.0 < self.polyak <= 1.0 or self.weight_clip <= 1.0:
            raise ConfigError(
                f"beta {self.beta}, lr {self.lr}, polyak {self.polyak}, weight_clip {self.weight_clip}: expected "
                "beta >= 0, lr > 0, polyak in 0..1, weight_clip > 1"
            )

    @staticmethod
    def published() -> "IQLConfig":
        """Locomotion settings of the paper, except that beta counts spreads of the advantage, not rewards."""
        return IQLConfig(
            steps=1_000_000, batch=256, hidden=(256, 256), beta=3.0, discount=0.99, lr=3e-4, polyak=0.005
        )


class IQL:
    """A training in progress of one policy per reward; `block` goes on with it."""

    def __init__(self, data: Transitions, rewards: Sequence[F32], config: IQLConfig, seed: int) -> None:
        """rewards: E vectors (K,), of any scale. Raises DataError where they do not fit the data or a number is
        not finite.
        """
        _check_rewards(data, rewards)
        self.config, self._seed, n = config, seed, len(rewards)
        self._o_dim, a_dim = data.observations.shape[1], data.actions.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(seed, "iql weights").integers(2**62)))
            inputs = self._o_dim + a_dim
            self._value = StackedMLP(n, (self._o_dim, *config.hidden, 1))
            self._q = StackedMLP(2 * n, (inputs, *config.hidden, 1), n_distinct=2)
            self._policy = StackedMLP(n, (self._o_dim, *config.hidden, a_dim))
            self._template = PolicyNetwork(PolicyConfig(self._o_dim, a_dim, config.hidden))
            self._target = StackedMLP(2 * n, (inputs, *config.hidden, 1), n_distinct=2)
        self._target.parameters.copy_(self._q.parameters)
        self._log_std = torch.zeros(n, a_dim, 1)
        self._log_std.grad = torch.zeros_like(self._log_std)
        observations = torch.from_numpy(data.observations)
        normaliser = self._template.normaliser
        normaliser.fit(observations)
        scaled = np.stack([standardised(r) for r in rewards], 1)  # (K, E)
        # A constant reward prefers nothing: its advantages are only the networks' errors, so it is left at cloning.
        self._beta = torch.from_numpy(np.float32(config.beta) * scaled.any(0))[:, None]  # (E, 1)
        # One gather a step. Values are then of the order of one reward, whatever the discount.
        parts = [
            normaliser(observations),
            torch.from_numpy(data.actions),
            normaliser(torch.from_numpy(data.next_observations)),
            torch.from_numpy(scaled * np.float32(1.0 - config.discount)),
        ]
        self._packed = torch.cat(parts, 1).contiguous()  # (K, O + A + O + E)
        self._sizes = [inputs, self._o_dim, n]
        critics = [self._value.parameters, self._q.parameters]
        actors = [self._policy.parameters, self._log_std]
        self._optimiser = torch.optim.Adam([{"params": critics}, {"params": actors}], lr=config.lr, fused=True)
        self._spread = torch.zeros(n, 1)  # running spread of the advantages
        self.steps_done = 0
        self._losses: dict[str, float] = {}

    @property
    def finished(self) -> bool:
        return self.steps_done >= self.config.steps

    def block(self) -> None:
        """The next block of steps, at most to the end of the schedule."""
        size = min(BLOCK, self.config.steps - self.steps_done)
        rng = stream(self._seed, "iql batches", self.steps_done)
        batches = torch.from_numpy(rng.integers(0, len(self._packed), (size, self.config.batch)))
        for index in batches:
            losses = self.update(index)
        self._losses = {name: float(v) for name, v in losses.items()}

    def describe(self) -> str:
        return " ".join(f"{name} {value:.3g}" for name, value in self._losses.items())

    def update(self, index: Tensor) -> dict[str, Tensor]:
        """One step of all networks on the transitions `index` (B,)."""
        c = self.config
        rows = self._packed.index_select(0, index)
        inputs, following, reward = torch.split(rows, self._sizes, 1)  # (B, O + A), (B, O), (B, E)
        observations, actions = inputs[:, : self._o_dim], inputs[:, self._o_dim :]
        target_q = self._target.outputs(inputs).view(-1, 2, c.batch).amin(1)  # (E, B)
        aim = reward.T + c.discount * self._value.outputs(following)[:, 0]  # (E, B)
        value_loss, advantage = self._value_gradient(observations, target_q)
        losses = {
            "value_loss": value_loss,
            "q_loss": self._q_gradient(inputs, aim),
            "policy_loss": self._policy_gradient(observations, actions, self._weights(advantage)),
        }
        self._optimiser.param_groups[1]["lr"] = c.lr * 0.5 * (1.0 + math.cos(math.pi * self.steps_done / c.steps))
        self._optimiser.step()
        self._target.parameters.lerp_(self._q.parameters, c.polyak)
        self.steps_done += 1
        return losses

    def _value_gradient(self, observations: Tensor, target_q: Tensor) -> tuple[Tensor, Tensor]:
        """Loss |expectile - (advantage < 0)| advantage², and the advantages (E, B)."""
        activations = self._value.activations(observations)
        advantage = target_q - activations[-1][:, 0]
        pull = torch.where(advantage < 0, 1.0 - self.config.expectile, self.config.expectile) * advantage
        self._value.backward(activations, (-2.0 / self.config.batch) * pull[:, None])
        return (pull * advantage).mean(1).sum(), advantage

    def _q_gradient(self, inputs: Tensor, aim: Tensor) -> Tensor:
        """Loss (q - aim)² of both Q functions."""
        batch = self.config.batch
        activations = self._q.activations(inputs)
        error = activations[-1].view(-1, 2, batch) - aim[:, None]  # (E, 2, B)
        self._q.backward(activations, (2.0 / batch) * error.view(-1, 1, batch))
        return error.square().sum() / batch

    def _policy_gradient(self, observations: Tensor, actions: Tensor, weights: Tensor) -> Tensor:
        """Loss: negative log-likelihood of the actions, weighted (E, B)."""
        activations = self._policy.activations(observations)
        log_std = self._log_std.clamp(*LOG_STD)  # (E, A, 1)
        mean, scale = torch.tanh(activations[-1]), torch.exp(-log_std)
        error = (mean - actions.T) * scale  # (E, A, B)
        share = weights[:, None] / self.config.batch
        self._policy.backward(activations, share * error * scale * (1.0 - mean.square()))
        inside = log_std == self._log_std  # clamped ones stay where they are
        self._log_std.grad = (share * (1.0 - error.square())).sum(2, keepdim=True) * inside
        return (share * (0.5 * error.square() + log_std)).sum()

    def policies(self) -> list[Policy]:
        """One per reward, as learned so far; copies."""
        out = []
        for k in range(len(self._log_std)):
            network = PolicyNetwork(self._template.config)
            network.normaliser.load_state_dict(self._template.normaliser.state_dict())
            self._policy.copy_to(network.layers, k)
            network.log_std.data.copy_(self._log_std[k, :, 0].clamp(*LOG_STD))
            out.append(Policy(network))
        return out

    def state(self) -> dict[str, object]:
        """All that `restore` needs to go on as if never stopped."""
        return {
            "steps_done": self.steps_done,
            "networks": {name: network.parameters for name, network in self._networks().items()},
            "log_std": self._log_std,
            "spread": self._spread,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Raises an error of torch or of the mapping where the state is of another training."""
        for name, network in self._networks().items():
            network.parameters.copy_(state["networks"][name])  # type: ignore[index]
        self._log_std.copy_(state["log_std"])  # type: ignore[arg-type]
        self._spread.copy_(state["spread"])  # type: ignore[arg-type]
        self._optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
        self.steps_done = int(state["steps_done"])  # type: ignore[call-overload]

    def _networks(self) -> dict[str, StackedMLP]:
        return {"value": self._value, "q": self._q, "target": self._target, "policy": self._policy}

    def _weights(self, advantage: Tensor) -> Tensor:
        """exp(beta * advantage / running spread) (E, B), clipped: one temperature for rewards of any shape."""
        spread = advantage.std(1, keepdim=True)
        self._spread.copy_(spread) if self.steps_done == 0 else self._spread.lerp_(spread, 0.01)
        scaled = advantage * (self._beta / self._spread.clamp_min(1e-8))
        return scaled.clamp_max_(math.log(self.config.weight_clip)).exp_()


def train_policies(data: Transitions, rewards: Sequence[F32], config: IQLConfig, seed: int) -> list[Policy]:
    """One policy per reward vector (K,) over the same transitions; same arguments, same weights.

    Raises DataError where rewards do not fit the data or a number is not finite.
    """
    training = IQL(data, rewards, config, seed)
    while not training.finished:
        training.block()
    return training.policies()


def train_policy(data: Transitions, rewards: F32, config: IQLConfig, seed: int) -> Policy:
    """As `train_policies` for one reward."""
    return train_policies(data, [rewards], config, seed)[0]


def check_transitions(data: Transitions) -> None:
    """Raises DataError where arrays disagree, a number is not finite, or actions leave -1..1."""
    k = len(data.actions)
    for name in ("observations", "actions", "next_observations"):
        array: F32 = getattr(data, name)
        if len(array) != k or array.dtype != np.float32 or not np.isfinite(array).all():
            raise DataError(
                f"{name}: shape {array.shape}, {array.dtype}, all finite: {bool(np.isfinite(array).all())}; "
                f"expected {k} rows of finite float32; drop the damaged episodes"
            )
    largest = float(np.abs(data.actions).max())
    if largest > 1.0 + 1e-6:
        raise DataError(f"actions reach {largest:.3g}; expected -1..1: scale or clip them first")


def _check_rewards(data: Transitions, rewards: Sequence[F32]) -> None:
    check_transitions(data)
    if not rewards:
        raise DataError("there is no reward to learn from; give at least one vector with a number per step")
    for r in rewards:
        check_rewards(r)
        if len(r) != len(data.actions):
            raise DataError(
                f"{len(r)} rewards for {len(data.actions)} steps; expected one per step, in the order of the "
                "episodes"
            )
