"""Rollouts: T steps of N environments, with the recurrent state from which they can be evaluated again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_policies.psl.actor_critic import ActorCritic
from sinew_policies.psl.environment import Arrays, VectorEnvironment, check_observations, check_transition
from sinew_policies.psl.metrics import Outcome


@dataclass(frozen=True)
class Rollout:
    observations: Mapping[str, Tensor]  # each (T, N, ...), seen before each action
    previous_actions: Tensor  # (T, N) int64
    masks: Tensor  # (T, N) bool, False where an episode starts
    state: Tensor  # (N, ...) recurrent state before the first step
    actions: Tensor  # (T, N) int64
    log_probs: Tensor  # (T, N) of those actions when they were taken
    values: Tensor  # (T, N)
    rewards: Tensor  # (T, N)
    dones: Tensor  # (T, N) bool, the step ended its episode
    last_values: Tensor  # (N,) value of what is seen after the last step
    outcomes: tuple[Outcome, ...]  # of the episodes that ended on the way

    @property
    def steps(self) -> int:
        return self.actions.numel()


def advantages_and_returns(rollout: Rollout, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and the critic's targets, both (T, N); episodes do not mix."""
    going_on = (~rollout.dones).to(rollout.values.dtype)
    next_values = torch.cat([rollout.values[1:], rollout.last_values[None]])
    delta = rollout.rewards + gamma * next_values * going_on - rollout.values
    advantage, advantages = torch.zeros_like(rollout.last_values), []
    for t in reversed(range(len(delta))):
        advantage = delta[t] + gamma * gae_lambda * going_on[t] * advantage
        advantages.append(advantage)
    stacked = torch.stack(advantages[::-1])
    return stacked, stacked + rollout.values


class Collector:
    """Plays an environment with a policy; carries observations, recurrent state and actions between rollouts.

    Actions of step t are drawn from the stream (seed, rank, t), so a resumed training draws the same ones.
    """

    def __init__(
        self, environment: VectorEnvironment, network: ActorCritic, seed: int, rank: int, device: torch.device
    ) -> None:
        self._environment, self._network = environment, network
        self._seed, self._rank, self._device = seed, rank, device
        self._observations: Arrays = environment.reset()
        check_observations(self._observations, environment.n_envs)
        n = environment.n_envs
        self._previous_actions = torch.zeros(n, dtype=torch.int64, device=device)
        self._mask = torch.zeros(n, dtype=torch.bool, device=device)
        self._state = network.initial_state(n).to(device)
        self._rollouts = 0

    @torch.no_grad()
    def collect(self, steps: int, preempted: Callable[[int], bool] = lambda done: False) -> Rollout:
        """A rollout of `steps` steps, or fewer where `preempted(steps done)` says so after one.

        The network acts in evaluation mode, so that input statistics move in updates only.

        Raises DataError for an environment that gives arrays of other shapes or values that are not finite.
        """
        n = self._environment.n_envs
        draw = stream(self._seed, "actions", self._rank, self._rollouts)
        start, seen, columns = self._state, [], []
        outcomes: list[Outcome] = []
        self._network.eval()
        for t in range(steps):
            observation = self._to_tensors(self._observations)
            out = self._network(
                {k: v[None] for k, v in observation.items()},
                self._previous_actions[None],
                self._mask[None],
                self._state,
            )
            log_p = torch.log_softmax(out.logits[0].float(), -1)  # (N, actions)
            if log_p.shape != (n, self._environment.n_actions):
                raise DataError(
                    f"the policy gives logits {tuple(log_p.shape)}, the environment has {n} copies with "
                    f"{self._environment.n_actions} actions; build the policy for this environment"
                )
            actions = sample_actions(log_p, draw.random(n))
            transition = self._environment.step(actions.cpu().numpy())
            check_transition(transition, n, self._observations)
            dones = torch.from_numpy(transition.dones.copy()).to(self._device)
            seen.append(observation)
            columns.append(
                (
                    self._previous_actions,
                    self._mask,
                    actions,
                    log_p.gather(-1, actions[:, None])[:, 0],
                    out.values[0].float(),
                    torch.from_numpy(transition.rewards.astype(np.float32)).to(self._device),
                    dones,
                )
            )
            outcomes += transition.outcomes
            self._observations, self._state = transition.observations, out.state
            self._previous_actions, self._mask = actions, ~dones
            if preempted(t + 1):
                break
        self._rollouts += 1
        last = self._network(
            {k: v[None] for k, v in self._to_tensors(self._observations).items()},
            self._previous_actions[None],
            self._mask[None],
            self._state,
        )
        previous, masks, acted, log_probs, values, rewards, ended = (
            torch.stack(c) for c in zip(*columns, strict=True)
        )
        return Rollout(
            {name: torch.stack([o[name] for o in seen]) for name in seen[0]},
            previous,
            masks,
            start,
            acted,
            log_probs,
            values,
            rewards,
            ended,
            last.values[0].float(),
            tuple(outcomes),
        )

    def checkpoint(self) -> dict[str, Tensor]:
        """Tensors from which `restore` continues bit by bit, the environment included."""
        own = {
            "rollouts": torch.tensor(self._rollouts),
            "previous_actions": self._previous_actions.cpu(),
            "mask": self._mask.cpu(),
            "state": self._state.cpu(),
        }
        own |= {f"observation.{k}": _tensor(v) for k, v in self._observations.items()}
        return own | {f"environment.{k}": _tensor(v) for k, v in self._environment.state().items()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        self._rollouts = int(saved["rollouts"])
        self._previous_actions = saved["previous_actions"].to(self._device)
        self._mask = saved["mask"].to(self._device)
        self._state = saved["state"].to(self._device)
        self._observations = _arrays(saved, "observation.")
        self._environment.restore(_arrays(saved, "environment."))

    def _to_tensors(self, observations: Arrays) -> dict[str, Tensor]:
        return {name: _tensor(array).to(self._device) for name, array in observations.items()}


def sample_actions(log_p: Tensor, uniform: np.ndarray) -> Tensor:
    """One action (N,) for each row of log-probabilities (N, actions), inverting it at `uniform` (N,) in 0..1."""
    edges = log_p.double().exp().cumsum(-1)
    edges = edges / edges[:, -1:]
    u = torch.from_numpy(uniform).to(edges)[:, None]
    return (u >= edges[:, :-1]).sum(-1)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))  # a copy: the environment may reuse its own


def _arrays(saved: Mapping[str, Tensor], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v.numpy().copy() for k, v in saved.items() if k.startswith(prefix)}
