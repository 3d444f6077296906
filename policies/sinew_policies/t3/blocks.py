"""Transformer blocks as in ViT: normalise first, fused qkv, exact GELU; and their cross-attention variant.

Tokens are (B, N, W) throughout.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention; rows of the fused projection are q, k, v, heads inside each."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_split(part, self.n_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(_join(F.scaled_dot_product_attention(q, k, v)))


class CrossAttention(nn.Module):
    """Queries of one width attend to tokens of another."""

    def __init__(self, width: int, memory_width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(memory_width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q = _split(self.q(x), self.n_heads)
        k, v = (_split(part, self.n_heads) for part in self.kv(memory).chunk(2, dim=-1))
        return self.proj(_join(F.scaled_dot_product_attention(q, k, v)))


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, n_heads: int, mlp_ratio: float, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, int(width * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CrossBlock(nn.Module):
    """Attends to a memory only: queries never see each other."""

    def __init__(self, width: int, memory_width: int, n_heads: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.cross_attn = CrossAttention(width, memory_width, n_heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = x + self.cross_attn(self.norm1(x), memory)
        return x + self.mlp(self.norm2(x))


def init_transformer(module: nn.Module) -> None:
    """Xavier-uniform linear layers with zero bias; norms keep their unit start."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def learned_token(width: int) -> nn.Parameter:
    """(1, 1, width) drawn from N(0, 0.02²)."""
    return nn.Parameter(0.02 * torch.randn(1, 1, width))


def _split(x: Tensor, n_heads: int) -> Tensor:
    b, n, w = x.shape
    return x.reshape(b, n, n_heads, w // n_heads).transpose(1, 2)  # (B, H, N, W / H)


def _join(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (B, N, W)
