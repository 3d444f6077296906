"""PPO learns a task that needs memory, with the small and with the published policy."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from policies.psl.published_task import PublishedTask, make_published
from policies.psl.recall import Recall, make_policy

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.layout import LayoutEncoder
from sinew_policies.psl.ppo import PPO, PPOConfig
from sinew_policies.psl.rollout import Collector

CPU = torch.device("cpu")
FAST = PPOConfig(rollout_steps=16, epochs=4, minibatches=2, lr=5e-3, gradient_clip=0.5, normalise_advantages=True)


def test_a_task_that_needs_memory_is_learned() -> None:
    torch.manual_seed(0)
    policy = make_policy()
    play, ppo = Collector(Recall(32), policy, 0, 0, CPU), PPO(policy, FAST, 0)
    rewards = []
    for i in range(40):
        rollout = play.collect(16)
        rewards.append(float(rollout.rewards.mean()))
        ppo.update(rollout, i)
    assert sum(rewards[:3]) / 3 < 0.45  # chance
    # Without memory only the first of four steps shows the cue: at most (1 + 3 / 3) / 4 = 0.5.
    assert sum(rewards[-3:]) / 3 > 0.8


def test_the_first_minibatch_starts_from_ratio_one_and_updates_move_towards_advantage() -> None:
    torch.manual_seed(0)
    policy = make_policy()
    play = Collector(Recall(8), policy, 0, 0, CPU)
    ppo = PPO(policy, replace(FAST, epochs=1, minibatches=1, normalise_advantages=False), 0)
    rollout = play.collect(16)
    stats = ppo.update(rollout, 0)
    assert stats.kl == pytest.approx(0.0, abs=1e-6)
    assert stats.clipped == 0.0
    again = ppo.update(rollout, 0)
    assert again.policy_loss < stats.policy_loss
    assert again.value_loss < stats.value_loss


def test_a_clipped_ratio_stops_the_gradient_of_the_policy() -> None:
    torch.manual_seed(0)
    policy = make_policy()
    rollout = Collector(Recall(8), policy, 0, 0, CPU).collect(8)
    rewarded = replace(
        rollout,
        rewards=rollout.rewards * 0.0 + 10.0,
        values=rollout.values * 0.0,
        dones=torch.ones_like(rollout.dones),  # every advantage is 10
        log_probs=rollout.log_probs - 1.0,  # every ratio is e, far above the clip range
    )
    config = replace(FAST, epochs=1, minibatches=1, value_coefficient=0.0, entropy_coefficient=0.0)
    stats = PPO(policy, replace(config, normalise_advantages=False), 0).update(rewarded, 0)
    assert stats.clipped == 1.0
    assert stats.gradient_norm == 0.0
    assert stats.policy_loss == pytest.approx(-12.0, rel=1e-5)


def test_the_defaults_are_the_published_ones() -> None:
    assert PPOConfig() == PPOConfig(
        rollout_steps=64,
        epochs=2,
        minibatches=2,
        clip=0.2,
        lr=2.25e-4,
        adam_eps=1e-5,
        weight_decay=1e-6,
        gamma=0.99,
        gae_lambda=0.95,
        value_coefficient=0.5,
        entropy_coefficient=0.01,
        gradient_clip=0.2,
        normalise_advantages=False,
        linear_decay=False,
    )


def test_where_nothing_is_gained_the_entropy_bonus_makes_actions_more_random() -> None:
    torch.manual_seed(0)
    policy = make_policy()
    with torch.no_grad():
        policy.actor.bias[0] = 2.0
    rollout = Collector(Recall(8), policy, 0, 0, CPU).collect(8)
    indifferent = replace(
        rollout,
        rewards=torch.zeros_like(rollout.rewards),
        values=torch.zeros_like(rollout.values),
        dones=torch.ones_like(rollout.dones),  # every advantage is 0
    )
    config = replace(FAST, epochs=1, minibatches=1, value_coefficient=0.0, weight_decay=0.0)
    config = replace(config, normalise_advantages=False)
    still = PPO(policy, replace(config, entropy_coefficient=0.0), 0).update(indifferent, 0)
    assert still.gradient_norm == 0.0
    ppo = PPO(policy, replace(config, entropy_coefficient=0.01), 0)
    entropies = [ppo.update(indifferent, i).entropy for i in range(4)]
    assert entropies[0] == pytest.approx(still.entropy)
    assert all(a < b for a, b in pairwise(entropies))


def test_gradients_are_clipped_to_the_stated_norm() -> None:
    torch.manual_seed(0)
    policy = make_policy()
    rollout = Collector(Recall(8), policy, 0, 0, CPU).collect(8)
    ppo = PPO(policy, replace(FAST, epochs=1, minibatches=1, gradient_clip=1e-3), 0)
    stats = ppo.update(rollout, 0)
    assert stats.gradient_norm > 0.1  # before
    gradients = [p.grad.norm() for p in policy.parameters() if p.grad is not None]
    assert float(torch.stack(gradients).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_linear_decay_sets_the_rate() -> None:
    torch.manual_seed(0)
    policy = make_policy()
    ppo = PPO(policy, replace(FAST, linear_decay=True), 0)
    ppo.update(Collector(Recall(8), policy, 0, 0, CPU).collect(4), 0, progress=0.75)
    assert ppo.optimiser.param_groups[0]["lr"] == pytest.approx(0.25 * FAST.lr)


def test_the_published_policy_takes_a_step() -> None:
    torch.manual_seed(0)
    policy = make_published()
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    play = Collector(PublishedTask(2), policy, 0, 0, CPU)
    rollout = play.collect(6)
    assert rollout.dones.any()
    stats = PPO(policy, replace(FAST, epochs=1), 0).update(rollout, 0)
    assert stats.gradient_norm > 0.0
    moved = {k for k, v in policy.state_dict().items() if not torch.equal(v, before[k])}
    assert any("layout_encoder" in k for k in moved)
    assert any("state_encoder" in k for k in moved)
    assert not [k for k in moved if "visual_encoder" in k], "CLIP is frozen"
    again = play.collect(2)
    assert torch.isfinite(again.log_probs).all()


def test_updates_augment_by_the_seed_and_rollouts_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(LayoutEncoder, "forward", _noting(LayoutEncoder.forward, seen))
    rollout = Collector(PublishedTask(2), make_published(), 0, 0, CPU).collect(2)
    plain = make_published().policy.net.crop_layout(rollout.observations["frames"].flatten(0, 1))
    assert torch.equal(seen[0], plain[:2])

    def crops(index: int, seed: int = 0) -> list[torch.Tensor]:
        seen.clear()
        PPO(make_published(), replace(FAST, epochs=2, minibatches=2), seed).update(rollout, index)
        return sorted(seen, key=lambda x: -float(x.sum()))

    first = crops(0)
    assert len(first) == 4
    assert all(torch.equal(a, b) for a, b in zip(first, crops(0), strict=True))
    for other in (crops(1), crops(0, seed=1)):
        assert not any(torch.equal(a, b) for a in first for b in other)
    for i, a in enumerate(first):
        assert a.shape == (2, 3, 32, 32)  # of one environment
        assert not any(torch.equal(a, b) for b in [plain[::2], plain[1::2], *first[i + 1 :]])


def _noting(forward: Callable[..., torch.Tensor], seen: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
    def noting(self: LayoutEncoder, crops: torch.Tensor) -> torch.Tensor:
        seen.append(crops)
        return forward(self, crops)

    return noting


def test_unusable_settings_and_losses_are_named() -> None:
    with pytest.raises(ConfigError, match=r"gamma is 1\.5; expected 0 to 1"):
        PPOConfig(gamma=1.5)
    with pytest.raises(ConfigError, match="lr is nan; expected a finite number above 0"):
        PPOConfig(lr=float("nan"))
    with pytest.raises(ConfigError, match="epochs is 0"):
        PPOConfig(epochs=0)
    policy = make_policy()
    rollout = Collector(Recall(9), policy, 0, 0, CPU).collect(2)
    with pytest.raises(ConfigError, match="9 environments do not divide into 2 minibatches"):
        PPO(policy, FAST, 0).update(rollout, 0)
    weights = {k: v.clone() for k, v in policy.state_dict().items()}
    broken = replace(rollout, values=rollout.values * float("nan"))
    with pytest.raises(DataError, match=r"the loss is nan .* lower the learning rate"):
        PPO(policy, replace(FAST, minibatches=1), 0).update(broken, 0)
    assert all(torch.equal(v, weights[k]) for k, v in policy.state_dict().items())
