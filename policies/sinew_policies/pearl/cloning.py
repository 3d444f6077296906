"""Behaviour cloning: the policy that imitates every transition alike, whatever came of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from sinew_policies.common.episodes import Transitions
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.pearl.iql import BLOCK, check_transitions
from sinew_policies.pearl.policy import LOG_STD, Policy, PolicyConfig, PolicyNetwork


@dataclass(frozen=True)
class CloningConfig:
    steps: int = 3_000
    batch: int = 128
    hidden: tuple[int, ...] = (64, 64)
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.hidden or min(self.hidden) < 1 or self.lr <= 0.0:
            raise ConfigError(
                f"steps {self.steps}, batch {self.batch}, hidden {self.hidden}, lr {self.lr}: expected at least 1 "
                "each and lr > 0"
            )


class Cloning:
    """A training in progress; `block` goes on with it."""

    def __init__(self, data: Transitions, config: CloningConfig, seed: int) -> None:
        """Raises DataError where a number is not finite or actions leave -1..1."""
        check_transitions(data)
        self.config, self._seed = config, seed
        sizes = PolicyConfig(data.observations.shape[1], data.actions.shape[1], config.hidden)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(seed, "cloning weights").integers(2**62)))
            self._network = PolicyNetwork(sizes)
        observations = torch.from_numpy(data.observations)
        self._network.normaliser.fit(observations)
        self._observations = self._network.normaliser(observations)
        self._actions = torch.from_numpy(data.actions)
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=config.lr, fused=True)
        self.steps_done, self._loss = 0, float("nan")

    @property
    def finished(self) -> bool:
        return self.steps_done >= self.config.steps

    def block(self) -> None:
        """The next block of steps, at most to the end of the schedule."""
        c, network = self.config, self._network
        size = min(BLOCK, c.steps - self.steps_done)
        rng = stream(self._seed, "cloning batches", self.steps_done)
        for index in torch.from_numpy(rng.integers(0, len(self._actions), (size, c.batch))):
            log_std = network.log_std.clamp(*LOG_STD)
            error = (network(self._observations[index]) - self._actions[index]) * torch.exp(-log_std)
            loss = 0.5 * error.square().sum(1).mean() + log_std.sum()  # negative log-likelihood
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self._optimiser.param_groups[0]["lr"] = (
                c.lr * 0.5 * (1.0 + math.cos(math.pi * self.steps_done / c.steps))
            )
            self._optimiser.step()
            self.steps_done += 1
        self._loss = float(loss.detach())

    def describe(self) -> str:
        return f"cloning loss {self._loss:.3f}"

    def policy(self) -> Policy:
        """As learned so far; a copy."""
        network = PolicyNetwork(self._network.config)
        network.load_state_dict(self._network.state_dict())
        return Policy(network)

    def state(self) -> dict[str, object]:
        """All that `restore` needs to go on as if never stopped."""
        return {
            "steps_done": self.steps_done,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Raises an error of torch or of the mapping where the state is of another training."""
        self._network.load_state_dict(state["network"])  # type: ignore[arg-type]
        self._optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
        self.steps_done = int(state["steps_done"])  # type: ignore[call-overload]


def train_cloning(data: Transitions, config: CloningConfig, seed: int) -> Policy:
    """Imitates all transitions; same arguments, same weights. Raises DataError as `Cloning`."""
    training = Cloning(data, config, seed)
    while not training.finished:
        training.block()
    return training.policy()
