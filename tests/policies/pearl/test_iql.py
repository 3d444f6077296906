from dataclasses import replace

import numpy as np
import pytest
import torch

from sinew_policies.common.episodes import Episode, EpisodeSet, Transitions
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32
from sinew_policies.pearl.cloning import Cloning, CloningConfig, train_cloning
from sinew_policies.pearl.iql import IQL, IQLConfig, train_policies, train_policy
from sinew_policies.pearl.policy import Policy, mlp

QUICK = IQLConfig(steps=500, hidden=(32, 32), lr=3e-3, beta=3.0, discount=0.8)
SHORT = replace(QUICK, steps=30)
GOAL = np.array([0.5, -0.5], np.float32)
STEP = 0.1


def point_mass(episodes: int = 40, steps: int = 25) -> EpisodeSet:
    """A point on a table that random actions push about; reward: minus the distance to GOAL."""
    made = []
    for k in range(episodes):
        rng = stream(k, "point mass")
        o = np.empty((steps + 1, 2), np.float32)
        o[0] = rng.uniform(-1, 1, 2)
        a = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
        for t in range(steps):
            o[t + 1] = _moved(o[t], a[t])
        r = -np.linalg.norm(o[1:] - GOAL, axis=1).astype(np.float32)
        made.append(Episode("point", o[:-1], a, r, r > -STEP, o[1:], "random", k))
    return EpisodeSet("point", tuple(made))


@pytest.fixture(scope="module")
def data() -> Transitions:
    return point_mass().transitions()


def final_distance(policy: Policy, trials: int = 50, steps: int = 25) -> float:
    o = stream(7, "starts").uniform(-1, 1, (trials, 2)).astype(np.float32)
    for _ in range(steps):
        o = _moved(o, policy.act(o))
    return float(np.linalg.norm(o - GOAL, axis=1).mean())


def test_reward_beats_cloning_and_flipped_reward(data: Transitions) -> None:
    zero = np.zeros_like(data.rewards)
    right, cloned, flipped = (
        final_distance(p) for p in train_policies(data, [data.rewards, zero, -data.rewards], QUICK, 0)
    )
    assert right < 0.3
    assert cloned > 2 * right
    assert flipped > cloned


def test_updates_are_those_of_the_paper(data: Transitions) -> None:
    """Four updates of all networks against the equations, written out over autograd, in double precision.

    Every setting is far from its neutral value, and rates are high, so that none of them can be left out.
    """
    config = IQLConfig(
        steps=6, batch=32, hidden=(8,), expectile=0.9, beta=2.0, discount=0.6, lr=0.02, polyak=0.3, weight_clip=3.0
    )
    ours = IQL(data, [data.rewards], config, 0)
    value, policy = (mlp(widths).double() for widths in ((2, 8, 1), (2, 8, 2)))
    critics, targets = ([mlp((4, 8, 1)).double() for _ in range(2)] for _ in range(2))
    ours._value.copy_to(value, 0)
    ours._policy.copy_to(policy, 0)
    for k in range(2):
        ours._q.copy_to(critics[k], k)
        ours._target.copy_to(targets[k], k)
    log_std = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    critic_adam = torch.optim.Adam(
        [*value.parameters(), *critics[0].parameters(), *critics[1].parameters()], config.lr
    )
    policy_adam = torch.optim.Adam([*policy.parameters(), log_std])
    seen = torch.from_numpy(data.observations).double()
    mean, deviation = seen.mean(0), seen.std(0, unbiased=False)
    reward = torch.from_numpy(data.rewards).double()
    reward = (1.0 - 0.6) * (reward - reward.mean()) / reward.std(unbiased=False)
    spread = torch.zeros(())
    sides, clipped = [], []
    for step in range(4):
        index = torch.from_numpy(stream(step, "batch").integers(0, len(data.actions), config.batch))
        ours.update(index)
        o = (seen[index] - mean) / deviation
        following = (torch.from_numpy(data.next_observations).double()[index] - mean) / deviation
        a = torch.from_numpy(data.actions).double()[index]
        pair = torch.cat([o, a], 1)
        lower = torch.minimum(targets[0](pair), targets[1](pair)).detach()[:, 0]
        advantage = lower - value(o)[:, 0]
        above = advantage > 0
        value_loss = torch.where(above, 0.9 * advantage**2, 0.1 * advantage**2).mean()
        aim = reward[index] + 0.6 * value(following).detach()[:, 0]
        q_loss = sum(((q(pair)[:, 0] - aim) ** 2).mean() for q in critics)
        critic_adam.zero_grad()
        (value_loss + q_loss).backward()
        batch_spread = advantage.detach().std()
        spread = batch_spread if step == 0 else 0.99 * spread + 0.01 * batch_spread
        weight = torch.exp(2.0 * advantage.detach() / spread).clamp(max=3.0)
        error = (torch.tanh(policy(o)) - a) / log_std.exp()
        policy_adam.zero_grad()
        (weight * (0.5 * error**2 + log_std).sum(1)).mean().backward()
        policy_adam.param_groups[0]["lr"] = config.lr * (1.0 + np.cos(np.pi * step / 6)) / 2.0
        critic_adam.step()
        policy_adam.step()
        with torch.no_grad():
            for q, target in zip(critics, targets, strict=True):
                for new, old in zip(q.parameters(), target.parameters(), strict=True):
                    old.copy_(0.3 * new + 0.7 * old)
        sides.append(above.double().mean())
        clipped.append((weight == 3.0).double().mean())
    assert 0.1 < np.mean(sides) < 0.9
    assert 0.1 < np.mean(clipped) < 0.9
    with torch.no_grad():
        assert np.allclose(ours._value.outputs(o.float())[0].T, value(o), atol=1e-4)
        for k in range(2):
            assert np.allclose(ours._q.outputs(pair.float())[k].T, critics[k](pair), atol=1e-4)
            assert np.allclose(ours._target.outputs(pair.float())[k].T, targets[k](pair), atol=1e-4)
        assert np.allclose(ours._policy.outputs(o.float())[0].T, policy(o), atol=1e-4)
        assert np.allclose(ours._log_std[0, :, 0], log_std, atol=1e-4)


@pytest.mark.parametrize("scale", [0.05, 20.0])
def test_the_scale_of_the_reward_does_not_matter(data: Transitions, scale: float) -> None:
    # Same seed: what remains is rounding in float32, which training amplifies.
    scaled = (scale * data.rewards + 3.0 * scale).astype(np.float32)
    ours, theirs = train_policies(data, [data.rewards, scaled], SHORT, 0)
    o = data.observations[:200]
    assert np.allclose(ours.act(o), theirs.act(o), atol=1e-3)


def test_a_power_of_two_changes_no_bit(data: Transitions) -> None:
    one, other = train_policies(data, [data.rewards, 0.25 * data.rewards], SHORT, 0)
    assert np.array_equal(one.act(data.observations), other.act(data.observations))


def test_side_by_side_learns_what_it_learns_alone(data: Transitions) -> None:
    zero = np.zeros_like(data.rewards)
    together = train_policies(data, [zero, data.rewards], SHORT, 3)[1]
    alone = train_policy(data, data.rewards, SHORT, 3)
    assert np.allclose(together.act(data.observations), alone.act(data.observations), atol=1e-4)


def test_a_constant_reward_weighs_every_action_alike(data: Transitions) -> None:
    training = IQL(data, [np.full_like(data.rewards, 3.0)], SHORT, 0)
    advantage = torch.randn(1, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(training._weights(advantage), torch.ones(1, 10))


def test_same_seed_same_bits_also_across_a_stop(data: Transitions) -> None:
    config = replace(SHORT, steps=270)  # two blocks
    whole = train_policy(data, data.rewards, config, 5)
    stopped = IQL(data, [data.rewards], config, 5)
    stopped.block()
    resumed = IQL(data, [data.rewards], config, 5)
    resumed.restore(stopped.state())
    assert not resumed.finished
    resumed.block()
    assert resumed.finished
    assert np.array_equal(whole.act(data.observations), resumed.policies()[0].act(data.observations))
    other = train_policy(data, data.rewards, config, 6)
    assert not np.array_equal(whole.act(data.observations), other.act(data.observations))


def test_cloning_finds_the_mean_action(data: Transitions) -> None:
    actions = np.tile(np.array([0.3, -0.6], np.float32), (len(data.actions), 1))
    noise = stream(0, "noise").normal(0, 0.1, actions.shape).astype(np.float32)
    policy = train_cloning(replace(data, actions=actions + noise), CloningConfig(500, 64, (16,), 1e-2), 0)
    assert np.allclose(policy.act(data.observations).mean(0), [0.3, -0.6], atol=0.05)
    assert np.exp(policy.network.log_std.detach().numpy()) == pytest.approx(0.1, rel=0.5)


def test_cloning_resumes_to_the_same_bits(data: Transitions) -> None:
    config = CloningConfig(270, 32, (8,))
    stopped, resumed = Cloning(data, config, 0), Cloning(data, config, 0)
    stopped.block()
    resumed.restore(stopped.state())
    resumed.block()
    whole = train_cloning(data, config, 0)
    assert np.array_equal(whole.act(data.observations), resumed.policy().act(data.observations))


def _moved(o: F32, action: F32) -> F32:
    return np.clip(o + STEP * action, -1, 1)


def test_bad_input_is_refused(data: Transitions) -> None:
    r = data.rewards.copy()
    r[7] = np.nan
    with pytest.raises(DataError, match="reward of step 7 is not finite"):
        IQL(data, [r], SHORT, 0)
    with pytest.raises(DataError, match="999 rewards for 1000 steps"):
        IQL(data, [data.rewards[:-1]], SHORT, 0)
    with pytest.raises(DataError, match="no reward to learn from"):
        IQL(data, [], SHORT, 0)
    with pytest.raises(DataError, match="actions reach 2"):
        IQL(replace(data, actions=np.full_like(data.actions, 2.0)), [data.rewards], SHORT, 0)
    with pytest.raises(DataError, match="all finite: False"):
        Cloning(replace(data, observations=np.full_like(data.observations, np.nan)), CloningConfig(), 0)
    with pytest.raises(ConfigError, match=r"expectile is 1\.0"):
        IQLConfig(expectile=1.0)
