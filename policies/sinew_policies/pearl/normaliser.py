"""Shift and scale of inputs, kept with the weights."""

import torch
from torch import Tensor, nn

_FLOOR = 1e-3  # of the largest spread: numbers that hardly vary must not be blown up


class Normaliser(nn.Module):
    """x → (x - mean) / spread per number; identity until `fit`."""

    mean: Tensor
    spread: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))  # (D,)
        self.register_buffer("spread", torch.ones(dim))  # (D,)

    def fit(self, x: Tensor) -> None:
        """Takes mean and spread from x (K, D). Numbers that never change become 0."""
        spread = x.std(0, unbiased=False)
        largest = float(spread.max())
        self.mean.copy_(x.mean(0))
        self.spread.copy_(spread.clamp_min(_FLOOR * largest) if largest > 0.0 else torch.ones_like(spread))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.spread
