"""Networks of equal shape evaluated as one batched product: twin Q functions, and policies trained side by side."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class StackedMLP(nn.Module):
    """N networks of Linear layers with ReLU between them; all N start from the weights of `n_distinct` draws,
    repeated. Weights are drawn from torch's generator as nn.Linear does.
    """

    def __init__(self, n: int, widths: tuple[int, ...], n_distinct: int = 1) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in pairwise(widths):
            bound = 1.0 / math.sqrt(n_in)
            weight = torch.empty(n_distinct, n_in, n_out).uniform_(-bound, bound)
            bias = torch.empty(n_distinct, 1, n_out).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight.repeat(n // n_distinct, 1, 1)))  # (N, in, out)
            self.biases.append(nn.Parameter(bias.repeat(n // n_distinct, 1, 1)))  # (N, 1, out)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, B, out) of inputs (B, in) that all networks share."""
        h = x.expand(self.weights[0].shape[0], -1, -1)
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            if k < last:
                h = torch.relu_(h)
        return h

    @torch.no_grad()
    def copy_to(self, layers: nn.Sequential, index: int) -> None:
        """Writes network `index` into Linear layers of the same widths."""
        linear = [m for m in layers if isinstance(m, nn.Linear)]
        for layer, weight, bias in zip(linear, self.weights, self.biases, strict=True):
            layer.weight.copy_(weight[index].T)
            layer.bias.copy_(bias[index, 0])
