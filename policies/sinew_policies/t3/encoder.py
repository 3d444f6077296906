"""A sensor's encoder: patches, positions and the first transformer blocks; optionally with patches dropped."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sinew_policies.common.errors import DataError
from sinew_policies.t3.blocks import Block, init_transformer, learned_token
from sinew_policies.t3.config import EncoderConfig
from sinew_policies.t3.positions import sine_cosine_table


@dataclass(frozen=True)
class MaskedTokens:
    tokens: Tensor  # (B, 1 + kept, W) CLS and the patches that stay, in random order
    mask: Tensor  # (B, N) 1 = dropped
    ids_restore: Tensor  # (B, N) place of each patch in the order kept first, dropped last


class PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_px, stride=patch_px)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)  # (B, N, W)


class SensorEncoder(nn.Module):
    """Names and shapes of the published encoders, equal in both stages, so weights pass from one to the other."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.cls_token = learned_token(w)
        if config.masking is None:
            self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + config.n_patches, w))
        else:
            self.pos_embed = nn.Parameter(sine_cosine_table(config.grid, w), requires_grad=False)
        self.patch_embed = PatchEmbedding(w, config.patch_px)
        self.blocks = nn.ModuleList(
            Block(w, config.n_heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth)
        )
        init_transformer(self)
        projection = self.patch_embed.proj
        nn.init.xavier_uniform_(projection.weight.view(w, -1))  # as the linear layer that it is
        assert projection.bias is not None
        nn.init.zeros_(projection.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to tokens (B, 1 + N, W), CLS first; nothing is dropped.

        Raises DataError for another shape.
        """
        return self._transform(self._patches(images))

    def masked(self, images: Tensor, noise: Tensor) -> MaskedTokens:
        """Keeps the patches whose `noise` (B, N) is lowest; the share is `config.masking`.

        Raises DataError for images or noise of another shape.
        """
        patches = self._patches(images)
        if noise.shape != patches.shape[:2]:
            raise DataError(f"masking noise is {tuple(noise.shape)}; expected {tuple(patches.shape[:2])}")
        order = noise.argsort(dim=1, stable=True)
        ids_restore = order.argsort(1)
        kept = order[:, : self.config.n_kept]
        mask = torch.ones_like(noise).scatter_(1, kept, 0.0)
        visible = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[2]))
        return MaskedTokens(self._transform(visible), mask, ids_restore)

    def _patches(self, images: Tensor) -> Tensor:
        side = self.config.image_px
        if images.dim() != 4 or images.shape[1:] != (3, side, side):
            raise DataError(
                f"images are {tuple(images.shape)}; expected (batch, 3, {side}, {side}): "
                "preprocess them with sinew_policies.t3.preprocess, or load the encoder with another image_px"
            )
        return self.patch_embed(images) + self.pos_embed[:, 1:]

    def _transform(self, patches: Tensor) -> Tensor:
        # .shape, not len(): exporters take the latter for a constant.
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(patches.shape[0], -1, -1)
        x = torch.cat([cls, patches], 1)
        for block in self.blocks:
            x = block(x)
        return x
