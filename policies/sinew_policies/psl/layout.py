"""Layout branch: a trainable half-width ResNet-50 with GroupNorm that sees where things are (section 3.2).

State-dict names follow the published checkpoint.
"""

import torch
from torch import Tensor, nn

from sinew_policies.psl.config import PSLConfig

_EXPANSION = 4
_VARIANCE_FLOOR = 1e-2


class LayoutEncoder(nn.Module):
    """Crops (B, 3, S, S) in 0..255 to features (B, layout_features)."""

    def __init__(self, config: PSLConfig) -> None:
        super().__init__()
        self.normalize = RunningMeanAndVar(3)
        self.backbone = _Backbone(config)
        channels = config.layout_planes * 8 * _EXPANSION
        self.compression = nn.Sequential(
            nn.Conv2d(channels, config.compress_channels, 3, padding=1, bias=False),
            nn.GroupNorm(1, config.compress_channels),
            nn.ReLU(),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, crops: Tensor) -> Tensor:
        features: Tensor = self.compression(self.backbone(self.normalize(crops / 255.0)))
        return features.flatten(1)


class RunningMeanAndVar(nn.Module):
    """Standardises each channel by the statistics of everything seen in training mode."""

    _mean: Tensor
    _var: Tensor
    _count: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("_mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("_var", torch.zeros(1, channels, 1, 1))
        self.register_buffer("_count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W), same shape out."""
        if self.training:
            self._include(x.detach())
        return (x - self._mean) / self._var.clamp_min(_VARIANCE_FLOOR).sqrt()

    def _include(self, x: Tensor) -> None:
        """Pools the statistics of a batch, weighted by its images, over all ranks if there are several."""
        ours = torch.stack([x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))]) * len(x)  # (2, C)
        sums = torch.cat([ours.flatten(), x.new_tensor([float(len(x))])])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        n = sums[-1]
        mean, square = (sums[:-1] / n).view(2, 1, -1, 1, 1)
        var = (square - mean * mean).clamp_min(0.0)
        total = self._count + n
        shift = mean - self._mean
        self._var.copy_((self._var * self._count + var * n + shift * shift * self._count * n / total) / total)
        self._mean.add_(shift * n / total)
        self._count.copy_(total)


class _Backbone(nn.Module):
    def __init__(self, config: PSLConfig) -> None:
        super().__init__()
        planes, groups = config.layout_planes, config.layout_groups
        self.conv1 = nn.Conv2d(3, planes, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.GroupNorm(groups, planes)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = planes
        for stage, n_blocks in enumerate(config.layout_blocks):
            blocks = []
            for i in range(n_blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(_Bottleneck(channels, planes << stage, stride, groups))
                channels = (planes << stage) * _EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, planes: int, stride: int, groups: int) -> None:
        super().__init__()
        out = planes * _EXPANSION
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.GroupNorm(groups, planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.GroupNorm(groups, planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.GroupNorm(groups, out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.GroupNorm(groups, out))
            if stride != 1 or channels != out
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))
