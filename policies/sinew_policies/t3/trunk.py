"""The shared trunk: transformer blocks and a norm, the same for every sensor and task."""

from torch import Tensor, nn

from sinew_policies.t3.blocks import Block, init_transformer
from sinew_policies.t3.config import TrunkConfig

NORM_EPS = 1e-5  # the plain encoders have 1e-6


class Trunk(nn.Module):
    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.blocks = nn.ModuleList(
            Block(w, config.n_heads, config.mlp_ratio, NORM_EPS) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(w, eps=NORM_EPS)
        init_transformer(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, W) to (B, N, W); knows no positions, so any number of tokens will do."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)
