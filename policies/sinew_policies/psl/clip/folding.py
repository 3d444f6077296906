"""The frozen CLIP tower made faster for inference; same codes up to rounding.

BatchNorm is folded into the convolutions and images lie channels last. Attention pooling has one query only, so
keys and values need not be formed for every cell: the query is carried through the key projection instead, and
the value projection is applied to the already weighted mean of the cells.
"""

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sinew_policies.common.errors import ConfigError
from sinew_policies.psl.clip.vision import AttentionPool, Bottleneck, ModifiedResNet


def folded(tower: ModifiedResNet, dtype: torch.dtype = torch.float32) -> "FoldedTower":
    """A copy of the tower for inference that computes in `dtype`.

    Raises ConfigError for a tower that was folded before.
    """
    if not isinstance(tower, ModifiedResNet):
        raise ConfigError("this CLIP tower is folded already; make the predictor from the policy that was loaded")
    fast = deepcopy(tower).eval()
    for block in [fast, *(m for m in fast.modules() if isinstance(m, Bottleneck))]:
        for i in (1, 2, 3):
            setattr(block, f"conv{i}", _fused(block.get_submodule(f"conv{i}"), block.get_submodule(f"bn{i}")))
            setattr(block, f"bn{i}", nn.Identity())
        if isinstance(block, Bottleneck) and block.downsample is not None:
            block.downsample = nn.Sequential(_fused(*block.downsample))
    fast.add_module("attnpool", SingleQueryPool(fast.attnpool))
    return FoldedTower(fast, dtype)


class FoldedTower(nn.Module):
    """Takes the place of `ModifiedResNet`: normalised images (B, 3, S, S) to float32 codes (B, code)."""

    def __init__(self, tower: ModifiedResNet, dtype: torch.dtype) -> None:
        super().__init__()
        self.tower = tower.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        code: Tensor = self.tower(x.to(self._dtype, memory_format=torch.channels_last))
        return code.float()


class SingleQueryPool(nn.Module):
    """`AttentionPool` with the projections of all cells left out."""

    def __init__(self, pool: AttentionPool) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        p, heads = self.pool, self.pool.heads
        cells = x.flatten(2).transpose(1, 2)  # (B, G*G, C)
        tokens = torch.cat([cells.mean(1, keepdim=True), cells], 1) + p.positional_embedding
        width = tokens.shape[2]
        q = p.q_proj(tokens[:, 0]).view(-1, heads, width // heads)
        # q·(K t + b) = (Kᵀ q)·t + q·b, and the softmax does not see the constant q·b.
        carried = torch.einsum("bhd,hdc->bhc", q, p.k_proj.weight.view(heads, -1, width))
        scores = (carried @ tokens.transpose(1, 2)) * (width // heads) ** -0.5
        seen = scores.softmax(-1) @ tokens  # (B, heads, C)
        values = torch.einsum("bhc,hdc->bhd", seen, p.v_proj.weight.view(heads, -1, width)).flatten(1)
        code: Tensor = p.c_proj(values + p.v_proj.bias)
        return code


def _fused(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    return fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
