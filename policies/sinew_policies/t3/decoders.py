"""Heads that turn the trunk's tokens (B, 1 + N, W) into task outputs. Reconstruction has its own module.

Single heads are called with one token tensor. Two-tower heads have `tower`, run once per image, and `join`;
called with two token tensors they do both, so that a stream needs one tower per new image.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn

from sinew_policies.common.errors import DataError
from sinew_policies.t3.blocks import init_transformer
from sinew_policies.t3.config import HeadConfig


def pool_tokens(tokens: Tensor, pool: str) -> Tensor:
    """(B, W): the first token ('cls') or the mean of the patch tokens ('global')."""
    return tokens[:, 0] if pool == "cls" else tokens[:, 1:].mean(1)


class PoolHead(nn.Module):
    """The embedding of an image; nothing is learned."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.pool = config.pool

    def forward(self, tokens: Tensor) -> Tensor:
        return pool_tokens(tokens, self.pool)


class MLPHead(nn.Module):
    """Classification and regression from a pooled vector."""

    def __init__(self, config: HeadConfig, width: int) -> None:
        super().__init__()
        self.pool = config.pool
        self.model = _mlp(width, config)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(pool_tokens(tokens, self.pool))


class TwoTowerHead(nn.Module, ABC):
    """Base of heads that compare two images of one sensor."""

    @abstractmethod
    def tower(self, tokens: Tensor) -> Tensor:
        """What the head keeps of one image, (B, K)."""

    @abstractmethod
    def join(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, n_out) from the kept parts of both images."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.join(self.tower(first), self.tower(second))


class TwoTowerMLPHead(TwoTowerHead):
    def __init__(self, config: HeadConfig, width: int) -> None:
        super().__init__()
        self.pool = config.pool
        self.model = _mlp(2 * width, config)

    def tower(self, tokens: Tensor) -> Tensor:
        return pool_tokens(tokens, self.pool)

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        return self.model(torch.cat([first, second], 1))


class PoseHead(TwoTowerHead):
    """Change of pose between two images, from the patch tokens as a feature map.

    BatchNorm inside: in training its running statistics move once per tower; use `eval()` for inference.
    """

    def __init__(self, config: HeadConfig, width: int) -> None:
        super().__init__()
        a, b = config.hidden or (256, 64)
        half, drop = width // 2, config.dropout
        self.conv_layers = nn.Sequential(ResidualBlock(width, stride=2), ResidualBlock(width, stride=1))
        self.branch_fc = nn.Sequential(nn.Flatten(1), nn.Linear(width, half), nn.SiLU(), nn.Dropout(drop))
        self.output_fc = nn.Sequential(
            nn.Linear(2 * half, a),
            nn.SiLU(),
            nn.Linear(a, b),
            nn.Dropout(drop),
            nn.SiLU(),
            nn.Linear(b, config.n_out),
        )
        init_transformer(self)

    def tower(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, 1:].transpose(1, 2)  # (B, W, N)
        grid = round(patches.shape[2] ** 0.5)
        if grid * grid != patches.shape[2]:
            raise DataError(f"a pose head got {patches.shape[2]} patches; expected all of a square grid")
        features = self.conv_layers(patches.reshape(*patches.shape[:2], grid, grid))
        return self.branch_fc(features.mean((2, 3)))

    def join(self, first: Tensor, second: Tensor) -> Tensor:
        return self.output_fc(torch.cat([first, second], 1))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the stride is not 1."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv2d(channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(y)) + self.downsample(x)).relu()


def _mlp(n_in: int, config: HeadConfig) -> nn.Sequential:
    """Dropout before every activation but the first; its slots stay even at rate 0, for they number the layers."""
    widths = config.hidden or (256, 128, 64)
    layers: list[nn.Module] = [nn.Linear(n_in, widths[0]), nn.SiLU()]
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.Dropout(config.dropout), nn.SiLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], config.n_out))
    init_transformer(model)
    return model
