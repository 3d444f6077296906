"""Networks of equal shape evaluated as one batched product: twin Q functions, and policies trained side by side.

Gradients are written out, and all weights are one vector that an optimiser steps in one call: at these sizes
autograd's bookkeeping and an optimiser's loop over parameters take as long as the products themselves.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Layer = tuple[Tensor, Tensor]  # weight and bias of N networks


class StackedMLP:
    """N networks of Linear layers with ReLU between them; all N start from the weights of `n_distinct` draws,
    repeated. Weights are drawn from torch's generator as nn.Linear does.

    The last layer is kept transposed, and outputs are (N, out, B): products with a thin right-hand side are slow.
    """

    def __init__(self, n: int, widths: tuple[int, ...], n_distinct: int = 1) -> None:
        layers: list[Tensor] = []
        for n_in, n_out in pairwise(widths):
            bound = 1.0 / math.sqrt(n_in)
            for rows in (n_in, 1):
                drawn = torch.empty(n_distinct, rows, n_out).uniform_(-bound, bound)
                layers.append(drawn.repeat(n // n_distinct, 1, 1))  # (N, in, out) and (N, 1, out)
        layers[-2:] = [layers[-2].mT, layers[-1].mT]  # (N, out, in) and (N, out, 1)
        self.n = n
        self._shapes = [layer.shape for layer in layers]
        self.parameters = torch.cat([layer.reshape(-1) for layer in layers])  # (P,), to be changed in place only
        self.parameters.grad = torch.zeros_like(self.parameters)  # of the last `backward`
        self._layers, self._gradients = self._views(self.parameters), self._views(self.parameters.grad)

    def outputs(self, x: Tensor) -> Tensor:
        """(N, out, B) of inputs (B, in) that all networks share."""
        return self.activations(x)[-1]

    def activations(self, x: Tensor) -> list[Tensor]:
        """Each layer's input (N, B, in), and `outputs` last."""
        *hidden, (weight, bias) = self._layers
        found = [x.expand(self.n, -1, -1)]
        for w, b in hidden:
            found.append(torch.baddbmm(b, found[-1], w).relu_())
        return [*found, torch.baddbmm(bias, weight, found[-1].mT)]

    def backward(self, activations: Sequence[Tensor], gradient: Tensor) -> None:
        """Leaves in `parameters.grad` what a loss with the `gradient` (N, out, B) of the outputs asks for."""
        weight = self._layers[-1][0]
        to_weight, to_bias = self._gradients[-1]
        torch.bmm(gradient, activations[-2], out=to_weight)
        torch.sum(gradient, 2, keepdim=True, out=to_bias)
        g = gradient.mT * weight if weight.shape[1] == 1 else torch.bmm(gradient.mT, weight)  # (N, B, in)
        for k in reversed(range(len(self._layers) - 1)):
            g = torch.ops.aten.threshold_backward(g, activations[k + 1], 0.0)  # through the ReLU
            to_weight, to_bias = self._gradients[k]
            torch.bmm(activations[k].mT, g, out=to_weight)
            torch.sum(g, 1, keepdim=True, out=to_bias)
            if k:
                g = torch.bmm(g, self._layers[k][0].mT)

    def copy_to(self, layers: nn.Sequential, index: int) -> None:
        """Writes network `index` into Linear layers of the same widths."""
        linear = [m for m in layers if isinstance(m, nn.Linear)]
        for layer, (weight, bias) in zip(linear, self._layers, strict=True):
            w = weight[index]
            layer.weight.data.copy_(w if layer is linear[-1] else w.T)
            layer.bias.data.copy_(bias[index].view(-1))

    def _views(self, flat: Tensor) -> list[Layer]:
        parts = torch.split(flat, [math.prod(shape) for shape in self._shapes])
        shaped = [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        return list(zip(shaped[::2], shaped[1::2], strict=True))
