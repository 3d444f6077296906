"""The policy's laws on a tiny network; its numbers are compared with recordings in tests/parity."""

from dataclasses import replace

import pytest
import torch

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.config import ClipConfig, PSLConfig
from sinew_policies.psl.layout import RunningMeanAndVar
from sinew_policies.psl.network import Observation, PSLPolicy

TINY = PSLConfig.tiny()
STEPS, BATCH = 5, 3


@pytest.fixture(scope="module")
def policy() -> PSLPolicy:
    torch.manual_seed(0)
    return PSLPolicy(TINY).eval()


def sequence(views: int = 2) -> tuple[Observation, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (STEPS, BATCH, 48, 64, 3), dtype=torch.uint8, generator=g)
    goal = torch.randn(STEPS, BATCH, views, TINY.clip.code, generator=g)
    actions = torch.randint(0, 6, (STEPS, BATCH), generator=g)
    masks = torch.tensor([[0, 0, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]).bool()
    return Observation(frames, goal), actions, masks


def test_the_published_network_has_its_published_size() -> None:
    with torch.device("meta"):
        policy = PSLPolicy(PSLConfig.published())
    trained = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    frozen = sum(t.numel() for t in policy.clip.state_dict().values())
    assert round(trained / 1e6, 2) == 14.49
    assert round(frozen / 1e6, 2) == 102.06
    assert policy.net.state_encoder.rnn.input_size == 672
    assert all(p.requires_grad is False for p in policy.clip.parameters())


@torch.no_grad()
def test_memory_actor_and_critic_start_as_published(policy: PSLPolicy) -> None:
    """Orthogonal, that of the actor times 0.01; biases 0."""
    rnn = dict(policy.net.state_encoder.rnn.named_parameters())
    weights = [(p, 1.0) for name, p in rnn.items() if "weight" in name]
    assert len(weights) == 2 * TINY.rnn_layers
    actor, critic = policy.action_distribution.linear, policy.critic.fc
    for weight, gain in (*weights, (actor.weight, 0.01), (critic.weight, 1.0)):
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        torch.testing.assert_close(tall.T @ tall / gain**2, torch.eye(tall.shape[1]), atol=1e-5, rtol=0)
    biases = [p for name, p in rnn.items() if "bias" in name]
    assert not any(b.any() for b in (*biases, actor.bias, critic.bias))


@torch.no_grad()
def test_a_sequence_equals_its_steps_also_across_resets(policy: PSLPolicy) -> None:
    observation, actions, masks = sequence()
    state = torch.randn(BATCH, 4, TINY.rnn_hidden, generator=torch.Generator().manual_seed(2))
    whole = policy.unroll(observation, state, actions, masks)
    for t in range(STEPS):
        step = policy(Observation(observation.frames[t], observation.goal[t]), state, actions[t], masks[t])
        state = step.state
        for name in ("log_probs", "value", "rnn_input", "fused", "layout_features"):
            torch.testing.assert_close(getattr(step, name), getattr(whole, name)[t])
    torch.testing.assert_close(state, whole.state)
    torch.testing.assert_close(whole.log_probs.exp().sum(-1), torch.ones(STEPS, BATCH))


@torch.no_grad()
def test_an_episode_start_forgets_even_a_spoilt_memory(policy: PSLPolicy) -> None:
    observation, actions, _ = sequence()
    first = Observation(observation.frames[0], observation.goal[0])
    start = torch.zeros(BATCH, dtype=torch.bool)
    clean = policy(first, policy.initial_state(BATCH), torch.zeros(BATCH, dtype=torch.int64), start)
    spoilt = policy(first, torch.full_like(policy.initial_state(BATCH), torch.nan), actions[0], start)
    assert torch.equal(clean.log_probs, spoilt.log_probs)
    assert torch.equal(clean.state, spoilt.state)


@torch.no_grad()
def test_goals_count_by_direction_and_a_known_image_code_is_taken(policy: PSLPolicy) -> None:
    observation, actions, masks = sequence()
    o = Observation(observation.frames[1], observation.goal[1])
    rest = (policy.initial_state(BATCH), actions[1], masks[1])
    out = policy(o, *rest)
    torch.testing.assert_close(policy(replace(o, goal=7.0 * o.goal), *rest).fused, out.fused)
    assert not torch.allclose(policy(replace(o, goal=-o.goal), *rest).fused, out.fused)
    again = policy(replace(o, image_code=policy.encode_frames(o.frames)), *rest)
    torch.testing.assert_close(again.log_probs, out.log_probs)
    assert torch.allclose(policy(replace(o, image_code=out.image_code + 1.0), *rest).image_code, out.image_code + 1)


def test_training_reaches_everything_but_clip(policy: PSLPolicy) -> None:
    torch.manual_seed(0)
    trained = PSLPolicy(TINY).train()
    before = {k: v.clone() for k, v in trained.clip.state_dict().items()}
    observation, actions, masks = sequence()
    out = trained.unroll(observation, trained.initial_state(BATCH), actions, masks)
    (out.value.square().mean() - out.log_probs[..., 1].mean()).backward()
    assert not trained.clip.training
    assert all(p.grad is None for p in trained.clip.parameters())
    assert all(torch.equal(v, before[k]) for k, v in trained.clip.state_dict().items())
    still = [n for n, p in trained.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert still == []
    assert trained.net.layout_encoder.normalize._count == STEPS * BATCH


def test_running_statistics_do_not_depend_on_how_images_were_batched() -> None:
    images = torch.rand(12, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 2, 3.0]).view(
        3, 1, 1
    )
    pieces, whole = RunningMeanAndVar(3).train(), RunningMeanAndVar(3).train()
    for part in images.split([1, 4, 7]):
        pieces(part)
    standard = whole(images)
    torch.testing.assert_close(pieces._mean, whole._mean)
    torch.testing.assert_close(pieces._var, whole._var)
    torch.testing.assert_close(whole._var.flatten(), images.var((0, 2, 3), correction=0))
    torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    fixed = pieces.eval()._count.clone()
    pieces(images)
    assert pieces._count == fixed == 12
    flat = RunningMeanAndVar(3).train()
    assert flat(torch.full((2, 3, 4, 4), 0.5)).abs().max() == 0  # the floor keeps a constant image finite


@pytest.mark.parametrize(
    ("goal", "state", "masks", "text"),
    [
        (torch.ones(BATCH, 16), None, None, r"a single code is one view, give it as \(1, 16\)"),
        (torch.ones(BATCH, 1, 8), None, None, r"expected \(\.\.\., views, 16\)"),
        (None, torch.zeros(BATCH, 2, 24), None, r"expected \(3, 4, 24\)"),
        (None, None, torch.ones(BATCH), "one bool mask"),
    ],
)
def test_wrong_shapes_are_named(
    policy: PSLPolicy,
    goal: torch.Tensor | None,
    state: torch.Tensor | None,
    masks: torch.Tensor | None,
    text: str,
) -> None:
    observation, actions, _ = sequence()
    with pytest.raises(DataError, match=text):
        policy(
            Observation(observation.frames[0], observation.goal[0] if goal is None else goal),
            policy.initial_state(BATCH) if state is None else state,
            actions[0],
            torch.ones(BATCH, dtype=torch.bool) if masks is None else masks,
        )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"layout_kernel": "bilinera"}, "did you mean 'bilinear'"),
        ({"layout_size": 100}, "multiple of 32"),
        ({"layout_groups": 5}, "multiple of layout_groups"),
        ({"layout_blocks": (3, 4)}, "4 stages"),
    ],
)
def test_impossible_configurations_are_refused(change: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        replace(PSLConfig(), **change)
    with pytest.raises(ConfigError, match="multiple of its 7 heads"):
        ClipConfig(visual_heads=7)
