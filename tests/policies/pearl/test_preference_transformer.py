import pytest
import torch

from sinew_policies.common.errors import ConfigError
from sinew_policies.pearl.preference_transformer import PreferenceTransformer, TransformerConfig
from sinew_policies.pearl.reward_losses import preference_loss

N, H, O, A = 4, 7, 5, 3


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(N, H, O, generator=g), torch.randn(N, H, A, generator=g)


@pytest.fixture
def network() -> PreferenceTransformer:
    torch.manual_seed(0)
    return PreferenceTransformer(O, A, TransformerConfig(max_steps=10)).eval()


def test_published_sizes(network: PreferenceTransformer) -> None:
    c = network.config
    assert (c.width, c.layers, c.heads, c.dropout, c.weighted_sum) == (256, 1, 4, 0.1, False)
    mu, log_sigma = network(*_inputs())
    assert mu.shape == log_sigma.shape == (N, H)


def test_a_step_sees_its_own_action_and_nothing_later(network: PreferenceTransformer) -> None:
    o, a = _inputs()
    mu = network(o, a)[0]
    later_o, later_a = o.clone(), a.clone()
    later_o[:, 4:] += 1
    later_a[:, 4:] += 1
    assert torch.allclose(network(later_o, later_a)[0][:, :4], mu[:, :4], atol=1e-6)
    own = a.clone()
    own[:, 3] += 1
    assert (network(o, own)[0][:, 3] - mu[:, 3]).abs().min() > 1e-6
    assert torch.allclose(network(o[:, :4], a[:, :4])[0], mu[:, :4], atol=1e-6)


def test_tokens_are_action_then_state_of_each_step(network: PreferenceTransformer) -> None:
    """[a_0, s_0, a_1, s_1, …] of the published code, with a step's time, counted from 1, on both of its tokens."""
    o, a = _inputs()
    seen: list[torch.Tensor] = []
    network.norm_in.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(o, a)
    time = network.embed_time.weight[1 : H + 1]
    assert seen[0].shape == (N, 2 * H, network.config.width)
    assert torch.allclose(seen[0][:, 0::2], network.embed_action(a) + time)
    assert torch.allclose(seen[0][:, 1::2], network.embed_state(o) + time)


def test_what_an_action_says_comes_before_its_state(network: PreferenceTransformer) -> None:
    """The trunk's output at an action has not seen that step's state; at the state it has seen both."""
    o, a = _inputs()
    outputs: list[torch.Tensor] = []
    network.norm_out.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    other = o.clone()
    other[:, 3] += 1
    mu, moved = network(o, a)[0], network(other, a)[0]
    change = (outputs[1] - outputs[0]).abs().amax((0, 2))  # (2 H,) by token
    assert change[: 2 * 3 + 1].max() < 1e-5
    assert change[2 * 3 + 1 :].min() > 1e-4
    assert (moved - mu)[:, 3].abs().min() > 1e-6


def test_the_reward_is_read_at_the_state(network: PreferenceTransformer) -> None:
    """Without attention a token sees itself alone, so the reward of a step then depends on its state alone."""
    for block in network.blocks:
        torch.nn.init.zeros_(block.out.weight)
    o, a = _inputs()
    mu = network(o, a)[0]
    assert torch.equal(network(o, a + 1)[0], mu)
    other = o.clone()
    other[:, 3] += 1
    change = (network(other, a)[0] - mu).abs().amax(0)
    assert change[3] > 1e-6
    assert change[torch.arange(H) != 3].max() == 0


def test_weighted_sum_sees_the_whole_segment() -> None:
    torch.manual_seed(0)
    network = PreferenceTransformer(O, A, TransformerConfig(max_steps=10, weighted_sum=True)).eval()
    o, a = _inputs()
    mu, log_sigma = network(o, a)
    o[:, -1] += 1
    assert (network(o, a)[0][:, 0] - mu[:, 0]).abs().max() > 1e-7
    assert torch.isfinite(log_sigma).all()


def test_steps_lower_the_loss(network: PreferenceTransformer) -> None:
    o, a = _inputs()
    z = torch.tensor([1.0, 0.0])
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        score = network(o, a)[0].mean(1)
        loss = preference_loss(score[:2], score[2:], z)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_bad_sizes_are_refused(network: PreferenceTransformer) -> None:
    with pytest.raises(ConfigError, match="segment of 11 steps, but the transformer was made for 10"):
        network(torch.zeros(1, 11, O), torch.zeros(1, 11, A))
    with pytest.raises(ConfigError, match="multiple of the heads"):
        TransformerConfig(width=10, heads=4)
