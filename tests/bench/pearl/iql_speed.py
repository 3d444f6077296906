"""IQL steps a second, ours against a plain PyTorch loop of the same networks, alternating in one process.

python tests/bench/pearl/iql_speed.py [--rounds N] [--json FILE]

CPU time of one thread, so that other processes on the machine disturb both alike. The plain loop is what is usually
written: separate modules, one Adam and one backward pass for each of value, Q and policy, a loop over parameters
for the target, batches drawn from NumPy arrays.
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sinew_policies.common.episodes import Episode, EpisodeSet, Index
from sinew_policies.common.report import Metric, Report
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32, F64
from sinew_policies.pearl.iql import IQL, IQLConfig
from sinew_policies.pearl.policy import mlp

O_DIM, A_DIM, N_STEPS = 39, 4, 30_000
# Hidden width, batch, policies side by side: default first, published last.
SIZES = ((64, 128, 1), (64, 128, 4), (128, 128, 1), (256, 256, 1))
STEPS_A_ROUND = 100


class PlainIQL:
    def __init__(self, episodes: EpisodeSet, rewards: F32, config: IQLConfig, seed: int) -> None:
        steps = episodes.transitions()
        self.observations, self.actions = steps.observations, steps.actions
        self.next_observations, self.rewards = steps.next_observations, rewards
        self.config, self.rng = config, np.random.default_rng(seed)
        self.q1, self.q2 = (mlp((O_DIM + A_DIM, *config.hidden, 1)) for _ in range(2))
        self.target_q1, self.target_q2 = copy.deepcopy(self.q1), copy.deepcopy(self.q2)
        self.value = mlp((O_DIM, *config.hidden, 1))
        self.policy = mlp((O_DIM, *config.hidden, A_DIM))
        self.log_std = nn.Parameter(torch.zeros(A_DIM))
        self.value_adam = torch.optim.Adam(self.value.parameters(), lr=config.lr)
        self.q_adam = torch.optim.Adam([*self.q1.parameters(), *self.q2.parameters()], lr=config.lr)
        self.policy_adam = torch.optim.Adam([*self.policy.parameters(), self.log_std], lr=config.lr)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.policy_adam, config.steps)

    def step(self) -> None:
        self.update(self.rng.integers(0, len(self.actions), self.config.batch))

    def update(self, index: Index) -> None:
        c = self.config
        observation = torch.from_numpy(self.observations[index])
        action = torch.from_numpy(self.actions[index])
        following = torch.from_numpy(self.next_observations[index])
        reward = torch.from_numpy(self.rewards[index])
        pair = torch.cat([observation, action], 1)
        with torch.no_grad():
            target = torch.minimum(self.target_q1(pair), self.target_q2(pair)).squeeze(1)
            next_value = self.value(following).squeeze(1)
        value = self.value(observation).squeeze(1)
        advantage = target - value
        value_loss = (torch.abs(c.expectile - (advantage < 0).float()) * advantage**2).mean()
        self.value_adam.zero_grad()
        value_loss.backward()
        self.value_adam.step()
        aim = reward + c.discount * next_value
        q_loss = sum(nn.functional.mse_loss(q(pair).squeeze(1), aim) for q in (self.q1, self.q2))
        self.q_adam.zero_grad()
        q_loss.backward()
        self.q_adam.step()
        for q, target_q in ((self.q1, self.target_q1), (self.q2, self.target_q2)):
            for p, t in zip(q.parameters(), target_q.parameters(), strict=True):
                t.data.copy_(c.polyak * p.data + (1.0 - c.polyak) * t.data)
        weight = self.weights(advantage.detach())
        gaussian = torch.distributions.Normal(torch.tanh(self.policy(observation)), self.log_std.exp())
        policy_loss = -(weight * gaussian.log_prob(action).sum(1)).mean()
        self.policy_adam.zero_grad()
        policy_loss.backward()
        self.policy_adam.step()
        self.schedule.step()

    def weights(self, advantage: torch.Tensor) -> torch.Tensor:
        return torch.exp(self.config.beta * advantage).clamp(max=self.config.weight_clip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the report there")
    a = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    metrics: dict[str, Metric] = {}
    rows: list[dict[str, str | int | float]] = []
    for width, batch, policies in SIZES:
        times = measure(width, batch, policies, a.rounds, STEPS_A_ROUND)
        ratio = times[:, 0] / times[:, 1]
        plain_rate, our_rate = 1.0 / np.median(times, 0)
        name = f"iql_speed_up_{width}_batch_{batch}" + (f"_policies_{policies}" if policies > 1 else "")
        metrics[name] = Metric(float(np.median(ratio)), float(ratio.min()), float(ratio.max()), a.rounds, "times")
        rows.append(
            {
                "hidden": width,
                "batch": batch,
                "policies": policies,
                "plain_steps_per_s": plain_rate,
                "steps_per_s": our_rate,
            }
        )
        print(
            f"{width}x{width}, batch {batch}, {policies} side by side: plain {plain_rate:.0f}, ours {our_rate:.0f} "
            f"policy steps per CPU second, {np.median(ratio):.2f} times ({ratio.min():.2f} to {ratio.max():.2f} "
            f"over {a.rounds} rounds)"
        )
    if a.json:
        Report("bench iql", 0, time.monotonic() - started, metrics, rows).write(a.json)


def measure(width: int, batch: int, policies: int, rounds: int, steps: int) -> F64:
    """CPU seconds a step and policy (rounds, 2) of the plain loop, which trains one, and of ours; a first round is
    not counted.
    """
    config = IQLConfig(batch=batch, hidden=(width, width))
    episodes, rng = _episodes(), stream(0, "bench")
    rewards = [rng.normal(size=N_STEPS).astype(np.float32) for _ in range(policies)]
    plain, ours = PlainIQL(episodes, rewards[0], config, 0), IQL(episodes.transitions(), rewards, config, 0)

    def plain_steps() -> None:
        for _ in range(steps):
            plain.step()

    def our_steps() -> None:
        for index in torch.from_numpy(rng.integers(0, N_STEPS, (steps, batch))):
            ours.update(index)

    times = [[_cpu_s(plain_steps), _cpu_s(our_steps) / policies] for _ in range(rounds + 1)]
    return np.array(times[1:]) / steps


def _cpu_s(work: Callable[[], None]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _episodes() -> EpisodeSet:
    rng, t = stream(0, "bench episodes"), 150
    made = []
    for k in range(N_STEPS // t):
        o = rng.normal(size=(t + 1, O_DIM)).astype(np.float32)
        a = rng.uniform(-1, 1, (t, A_DIM)).astype(np.float32)
        zero = np.zeros(t, np.float32)
        made.append(Episode("bench", o[:-1], a, zero, zero > 0, o[1:], "random", k))
    return EpisodeSet("bench", tuple(made))


if __name__ == "__main__":
    main()
