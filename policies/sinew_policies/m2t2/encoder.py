"""PointNet++ encoders with multi-scale grouping (M2T2 section 3.1), channels-last throughout.

Parameter names and shapes are those of the published checkpoints; the 1×1 convolutions run as matrix products.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.neighbours import LevelNeighbours, Neighbours, group_levels

_LEVEL_WIDTHS = ((32, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512))
_UPSAMPLE_WIDTHS = ((128, 128), (256, 256), (512, 512), (512, 512))


class SceneEncoder(nn.Module):
    """Cloud -> features of all five levels. `backbone` in the published state dict."""

    def __init__(self, config: M2T2Config) -> None:
        super().__init__()
        ch = config.channels
        c_point = config.n_feature_channels
        self.SA_modules = nn.ModuleList()
        skips = [c_point]
        for widths in _LEVEL_WIDTHS:
            scaled = tuple(ch(w) for w in widths)
            self.SA_modules.append(SetAbstraction(skips[-1], scaled))
            skips.append(2 * scaled[-1])
        self.FP_modules = nn.ModuleList()
        for k, upsample in enumerate(_UPSAMPLE_WIDTHS):
            coarse = ch(_UPSAMPLE_WIDTHS[k + 1][-1]) if k < 3 else skips[4]
            self.FP_modules.append(FeaturePropagation(coarse + skips[k], tuple(ch(w) for w in upsample)))

    def forward(self, features: Tensor | None, neighbours: Neighbours) -> list[Tensor]:
        """Point features (B, N, c) or None -> [level 0 (B, N, C0), .., level 4 (B, N/256, C4)]."""
        skips: list[Tensor | None] = [features]
        for module, level in zip(self.SA_modules, neighbours.levels, strict=True):
            skips.append(module(skips[-1], neighbours.level_xyz(len(skips) - 1), level))
        coarse = skips[4]
        assert coarse is not None
        out = [coarse]
        for k in (3, 2, 1, 0):
            table = neighbours.interpolations[k]
            coarse = self.FP_modules[k](coarse, skips[k], table.idx, table.weight)
            out.append(coarse)
        return out[::-1]


class HeldObjectEncoder(nn.Module):
    """Held object -> one feature column, for placing. `object_encoder` in the published state dict."""

    def __init__(self, config: M2T2Config) -> None:
        super().__init__()
        ch = config.channels
        self._config = config
        self.SA_modules = nn.ModuleList()
        c_in = 3 * config.use_rgb
        for widths in _LEVEL_WIDTHS[:3]:
            scaled = tuple(ch(w) for w in widths)
            self.SA_modules.append(SetAbstraction(c_in, scaled))
            c_in = 2 * scaled[-1]
        self.SA_modules.append(GroupAll(c_in, tuple(ch(w) for w in _LEVEL_WIDTHS[3])))

    def levels(self, xyz: Tensor) -> tuple[LevelNeighbours, ...]:
        """Neighbour indices of the held object's centred coordinates (B, M, 3)."""
        return group_levels(xyz, self._config, 3)

    def forward(self, features: Tensor | None, xyz: Tensor) -> list[Tensor]:
        """[level 1 (B, M/4, C), level 2, level 3, whole object (B, 1, C)]"""
        out: list[Tensor] = []
        for module, level in zip(self.SA_modules, self.levels(xyz), strict=False):
            features = module(features, xyz, level)
            assert features is not None
            out.append(features)
            xyz = level.xyz
        out.append(self.SA_modules[3](out[-1], xyz))
        return out

    def zeros(self, n_points: int, batch: int, like: Tensor) -> list[Tensor]:
        """What forward gives once multiplied by task_is_place = 0, without computing it."""
        c = self._config
        sizes = [n_points // c.level_divisor**k for k in (1, 2, 3)] + [1]
        widths = [2 * c.channels(w[-1]) for w in _LEVEL_WIDTHS[:3]] + [c.channels(_LEVEL_WIDTHS[3][-1])]
        return [like.new_zeros(batch, n, w) for n, w in zip(sizes, widths, strict=True)]


class SharedMLP(nn.Sequential):
    """Convolution, BatchNorm, ReLU per width: children 0, 1, 2, 3, .. as published."""

    def __init__(self, c_in: int, widths: tuple[int, ...]) -> None:
        layers: list[nn.Module] = []
        for width in widths:
            conv = nn.Conv2d(c_in, width, 1, bias=False)
            nn.init.kaiming_normal_(conv.weight)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            c_in = width
        super().__init__(*layers)

    def stages(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        for i in range(0, len(self), 3):
            conv, norm = self[i], self[i + 1]
            assert isinstance(conv, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            yield conv, norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, .., C_in) -> (B, .., C_out), at least one axis between."""
        for conv, norm in self.stages():
            weight, bias = _fold(conv, norm)
            x = _finish(norm, F.linear(x, weight, bias))
        return x

    def grouped(self, offsets: Tensor, features: Tensor | None, idx: Tensor) -> Tensor:
        """The MLP over (offset, feature) of grouped neighbours, then the maximum over them.

        offsets (B, M, k, 3) from centre to neighbour; features (B, P, C); idx (B, M, k) -> (B, M, C_out).
        The first layer's feature part is applied per point, before grouping: P rows instead of M·k.
        """
        stages = list(self.stages())
        weight, bias = _fold(*stages[0])
        x = F.linear(offsets, weight[:, :3], bias)
        if features is not None:
            x = x + gather_rows(F.linear(features, weight[:, 3:]), idx)
        x = _finish(stages[0][1], x)
        for conv, norm in stages[1:]:
            weight, bias = _fold(conv, norm)
            x = _finish(norm, F.linear(x, weight, bias))
        pooled = F.max_pool2d(x.permute(0, 3, 1, 2), (1, x.shape[2]))  # (B, C, M, 1), channels-last
        return pooled.permute(0, 2, 3, 1).squeeze(2)  # this order keeps the gradient channels-last too


class SetAbstraction(nn.Module):
    """Two neighbourhoods, small and large, concatenated."""

    def __init__(self, c_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.mlps = nn.ModuleList([SharedMLP(3 + c_in, widths), SharedMLP(3 + c_in, widths)])

    def forward(self, features: Tensor | None, xyz: Tensor, level: LevelNeighbours) -> Tensor:
        branches = []
        for mlp, idx in zip(self.mlps, (level.small, level.large), strict=True):
            assert isinstance(mlp, SharedMLP)
            offsets = gather_rows(xyz, idx) - level.xyz[:, :, None]
            branches.append(mlp.grouped(offsets, features, idx))
        return torch.cat(branches, -1)


class GroupAll(nn.Module):
    """All points in one group, with absolute coordinates."""

    def __init__(self, c_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.mlps = nn.ModuleList([SharedMLP(3 + c_in, widths)])

    def forward(self, features: Tensor, xyz: Tensor) -> Tensor:
        rows: Tensor = self.mlps[0](torch.cat([xyz, features], -1)[:, None])
        return rows.amax(2)


class FeaturePropagation(nn.Module):
    """Coarse features interpolated onto the finer points, joined with their skip features."""

    def __init__(self, c_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.mlp = SharedMLP(c_in, widths)

    def forward(self, coarse: Tensor, skip: Tensor | None, idx: Tensor, weight: Tensor) -> Tensor:
        stages = list(self.mlp.stages())
        w, bias = _fold(*stages[0])
        c = coarse.shape[-1]
        # Interpolation and the first layer are both linear: apply the layer on the fewer, coarse rows.
        x = (gather_rows(F.linear(coarse, w[:, :c]), idx) * weight[..., None]).sum(2)
        if skip is not None:
            x = x + F.linear(skip, w[:, c:], bias)
        elif bias is not None:
            x = x + bias
        x = _finish(stages[0][1], x)
        for conv, norm in stages[1:]:
            w, bias = _fold(conv, norm)
            x = _finish(norm, F.linear(x, w, bias))
        return x


def gather_rows(x: Tensor, idx: Tensor) -> Tensor:
    """x (B, P, C), idx (B, ...) into P -> (B, ..., C)."""
    batch, n_points, channels = x.shape
    if batch > 1:
        start = torch.arange(batch, device=idx.device) * n_points
        idx = idx + start.view(-1, *[1] * (idx.dim() - 1))
    return F.embedding(idx, x.reshape(batch * n_points, channels))


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor | None]:
    """Weight (out, in) and bias of the convolution, with a frozen BatchNorm multiplied in."""
    weight = conv.weight.flatten(1)
    if norm.training:
        return weight, None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return weight * scale[:, None], norm.bias - norm.running_mean * scale


def _finish(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """BatchNorm by batch statistics while training (else it is folded already), then ReLU."""
    if norm.training:
        rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels-last view, no copy
        x = norm(rows).permute(0, 2, 3, 1).reshape(x.shape)
    return x.relu()
