"""Advantages, and recurrent state that is right across episode boundaries."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from policies.psl.recall import CUES, SMALL, Recall, make_policy

from sinew_policies.common.errors import DataError
from sinew_policies.psl.environment import Arrays, Transition
from sinew_policies.psl.rollout import Collector, Rollout, advantages_and_returns, sample_actions

CPU = torch.device("cpu")


def collector(environment: Recall) -> tuple[Collector, torch.nn.Module]:
    torch.manual_seed(0)
    policy = make_policy()
    torch.nn.init.normal_(policy.actor.weight)  # a fresh actor is nearly uniform and would hide mistakes
    return Collector(environment, policy, 0, 0, CPU), policy


def made_up(seed: int = 0, steps: int = 12, envs: int = 3) -> Rollout:
    draw = torch.Generator().manual_seed(seed)
    shape = (steps, envs)
    zeros = torch.zeros(shape, dtype=torch.int64)
    dones = torch.rand(shape, generator=draw) < 0.25
    values, rewards = torch.randn(shape, generator=draw), torch.randn(shape, generator=draw)
    last = torch.randn(envs, generator=draw)
    return Rollout({}, zeros, ~dones, torch.zeros(envs, 1), zeros, values, values, rewards, dones, last, ())


def test_advantages_equal_the_sum_over_each_episode() -> None:
    """A_t = sum_k (gamma lambda)^k delta_{t+k}, cut where the episode ends."""
    r, gamma, lam = made_up(), 0.9, 0.7
    advantages, returns = advantages_and_returns(r, gamma, lam)
    values = torch.cat([r.values, r.last_values[None]])
    for n in range(3):
        for t in range(12):
            total, weight = 0.0, 1.0
            for k in range(t, 12):
                going_on = 0.0 if r.dones[k, n] else 1.0
                total += weight * float(r.rewards[k, n] + gamma * values[k + 1, n] * going_on - values[k, n])
                weight *= gamma * lam
                if not going_on:
                    break
            assert float(advantages[t, n]) == pytest.approx(total, abs=1e-5)
    torch.testing.assert_close(returns, advantages + r.values)


def test_lambda_1_gives_discounted_sums_and_lambda_0_one_step() -> None:
    r = made_up(3)
    _, returns = advantages_and_returns(r, 0.9, 1.0)
    expected = r.last_values
    for t in reversed(range(12)):
        expected = r.rewards[t] + 0.9 * expected * (~r.dones[t])
        torch.testing.assert_close(returns[t], expected)
    _, one_step = advantages_and_returns(r, 0.9, 0.0)
    following = torch.cat([r.values[1:], r.last_values[None]])
    torch.testing.assert_close(one_step, r.rewards + 0.9 * following * ~r.dones)


def test_evaluating_a_rollout_again_gives_the_probabilities_it_was_played_with() -> None:
    """Holds only if state, masks and previous actions are those of collection, over many episode ends."""
    play, policy = collector(Recall(6, steps=5))
    for _ in range(3):
        r = play.collect(17)
        assert r.dones.any()
        assert not r.dones.all(0).any()
        out = policy(r.observations, r.previous_actions, r.masks, r.state)
        log_p = torch.log_softmax(out.logits, -1).gather(-1, r.actions[..., None])[..., 0]
        torch.testing.assert_close(log_p, r.log_probs, atol=1e-6, rtol=0)
        torch.testing.assert_close(out.values, r.values, atol=1e-6, rtol=0)
        # Any subset of environments, as minibatches take them, gives the same.
        some = torch.tensor([4, 1])
        part = policy(
            {k: v[:, some] for k, v in r.observations.items()},
            r.previous_actions[:, some],
            r.masks[:, some],
            r.state[some],
        )
        torch.testing.assert_close(part.values, r.values[:, some], atol=1e-6, rtol=0)


def test_an_episode_does_not_remember_the_one_before() -> None:
    play, policy = collector(Recall(6, steps=5))
    r = play.collect(17)
    t, n = (int(i[0]) for i in torch.where(r.dones[:-3]))
    assert not r.masks[t + 1, n]
    alone = policy(
        {k: v[t + 1 : t + 3, n : n + 1] for k, v in r.observations.items()},
        torch.full((2, 1), 2).where(torch.tensor([[True], [False]]), r.previous_actions[t + 2, n]),
        torch.tensor([[False], [True]]),
        torch.full((1, 2, SMALL.hidden), 9.0),  # a mask of False must hide this and the previous action
    )
    torch.testing.assert_close(alone.values[:, 0], r.values[t + 1 : t + 3, n], atol=1e-6, rtol=0)
    r.masks[t + 1, n] = True  # and the test can fail: without the mask the past shows
    with torch.no_grad():
        wrong = policy(r.observations, r.previous_actions, r.masks, r.state)
    assert float((wrong.values[t + 1, n] - r.values[t + 1, n]).abs()) > 1e-4


def test_actions_follow_their_probabilities() -> None:
    log_p = torch.log(torch.tensor([[0.2, 0.0, 0.5, 0.3]])).expand(20_000, 4)
    drawn = sample_actions(log_p, np.random.default_rng(0).random(20_000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, [0.2, 0.0, 0.5, 0.3], atol=0.01)
    edge = sample_actions(torch.log(torch.tensor([[0.5, 0.5, 0.0]])), np.array([np.nextafter(1.0, 0.0)]))
    assert int(edge) == 1  # nothing impossible is drawn at the upper end


def test_preemption_ends_a_rollout_early_and_the_next_goes_on() -> None:
    play, _ = collector(Recall(4, steps=5))
    whole, _ = collector(Recall(4, steps=5))
    short = play.collect(12, preempted=lambda done: done == 3)
    assert short.actions.shape == (3, 4)
    torch.testing.assert_close(short.rewards, whole.collect(12).rewards[:3])
    assert play.collect(4).actions.shape == (4, 4)


class Broken(Recall):
    """Changes what the third step returns."""

    def __init__(self, **changes: object) -> None:
        super().__init__(4)
        self._changes, self._steps_taken = changes, 0

    def step(self, actions: np.ndarray) -> Transition:
        self._steps_taken += 1
        transition = super().step(actions)
        return replace(transition, **self._changes) if self._steps_taken == 3 else transition


def observations(**changes: np.ndarray) -> Arrays:
    return {"view": np.zeros((4, 1, CUES), np.float32), "goal": np.ones((4, 1, CUES), np.float32), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": np.array([0, np.nan, 0, 0])}, "reward of environment 1 is nan; expected finite numbers"),
        ({"rewards": np.array([0, 0, 0, np.inf])}, "reward of environment 3 is inf"),
        ({"rewards": np.zeros((4, 1))}, r"rewards have shape \(4, 1\); expected \(4,\)"),
        ({"dones": np.zeros(4)}, "dones are float64; expected bool"),
        ({"dones": np.ones(4, bool), "outcomes": ()}, "4 episodes ended, with 0 outcomes"),
        ({"observations": observations(view=np.zeros((4, 2)))}, r"'view' has shape \(4, 2\); expected \(4, 1, 3\)"),
        (
            {"observations": {"view": np.zeros((4, 3))}},
            r"observes \['view'\], before it observed \['goal', 'view'\]",
        ),
        (
            {"observations": observations(view=np.full((4, 1, CUES), np.nan))},
            "observation 'view' of environment 0 is NaN or infinite",
        ),
    ],
)
def test_an_environment_that_breaks_its_word_is_named(changes: dict[str, object], message: str) -> None:
    play, _ = collector(Broken(**changes))
    with pytest.raises(DataError, match=message):
        play.collect(5)


def test_a_policy_for_other_actions_is_refused() -> None:
    environment = Recall(4)
    environment.n_actions = 6
    play, _ = collector(environment)
    with pytest.raises(DataError, match=r"logits \(4, 3\), the environment has 4 copies with 6 actions"):
        play.collect(1)
