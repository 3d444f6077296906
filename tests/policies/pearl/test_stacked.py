import pytest
import torch

from sinew_policies.pearl.policy import mlp
from sinew_policies.pearl.stacked import StackedMLP


@pytest.mark.parametrize("widths", [(5, 3), (5, 7, 1), (5, 8, 6, 4)])
def test_outputs_and_gradients_are_those_of_separate_networks(widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    n, batch = 3, 11
    stack = StackedMLP(n, widths, n_distinct=3)
    x, gradient = torch.randn(batch, widths[0]), torch.randn(n, widths[-1], batch)
    activations = stack.activations(x)
    stack.backward(activations, gradient)
    assert stack.parameters.grad is not None
    found = StackedMLP(n, widths)
    found.parameters.copy_(stack.parameters.grad)
    for k in range(n):
        network, gradients = mlp(widths), mlp(widths)
        stack.copy_to(network, k)
        found.copy_to(gradients, k)
        y = network(x)
        assert torch.allclose(activations[-1][k].T, y, atol=1e-6)
        y.backward(gradient[k].T)
        for p, g in zip(network.parameters(), gradients.parameters(), strict=True):
            assert p.grad is not None
            assert torch.allclose(p.grad, g, atol=1e-5)


def test_all_start_from_the_distinct_draws_in_turn() -> None:
    torch.manual_seed(0)
    stack = StackedMLP(4, (5, 7, 1), n_distinct=2)
    y = stack.outputs(torch.randn(9, 5))
    assert torch.equal(y[:2], y[2:])
    assert not torch.allclose(y[0], y[1])
