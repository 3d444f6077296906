"""Heads that predict the pixels of dropped patches from the tokens of the kept ones.

Both see 1 + kept tokens and the mask of the encoder. `MAEHead` fills mask tokens in and lets all attend to all;
`CrossMAEHead` asks for the dropped patches only, by cross-attention (arXiv 2401.14391).
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sinew_policies.t3.blocks import Block, CrossBlock, init_transformer, learned_token
from sinew_policies.t3.config import EncoderConfig, HeadConfig
from sinew_policies.t3.encoder import MaskedTokens
from sinew_policies.t3.patches import patchify, unpatchify
from sinew_policies.t3.positions import sine_cosine_table

NORM_EPS = 1e-5


class ReconstructionHead(nn.Module, ABC):
    """Parts that both kinds share."""

    def __init__(self, config: HeadConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        w = config.recon_width
        self.mask_token = learned_token(w)
        self.decoder_pos_embed = nn.Parameter(sine_cosine_table(encoder.grid, w), requires_grad=False)
        # The cross-attention kind has this layer in its weights, too, and does not use it.
        self.decoder_embed = nn.Linear(encoder.width, w)
        self.decoder_blocks = nn.ModuleList(self._block(config, encoder.width) for _ in range(config.recon_depth))
        self.decoder_norm = nn.LayerNorm(w, eps=NORM_EPS)
        self.decoder_pred = nn.Linear(w, 3 * encoder.patch_px**2)
        init_transformer(self)

    @abstractmethod
    def _block(self, config: HeadConfig, memory_width: int) -> nn.Module: ...

    @abstractmethod
    def forward(self, seen: MaskedTokens) -> Tensor: ...


class MAEHead(ReconstructionHead):
    def _block(self, config: HeadConfig, memory_width: int) -> nn.Module:
        return Block(config.recon_width, config.recon_heads, 4.0, NORM_EPS)

    def forward(self, seen: MaskedTokens) -> Tensor:
        """(B, N, 3 patch²): every patch, kept ones included."""
        x = self.decoder_embed(seen.tokens)
        n_dropped = seen.ids_restore.shape[1] - (x.shape[1] - 1)
        patches = torch.cat([x[:, 1:], self.mask_token.expand(len(x), n_dropped, -1)], 1)
        patches = patches.gather(1, seen.ids_restore[..., None].expand_as(patches))
        x = torch.cat([x[:, :1], patches], 1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]


class CrossMAEHead(ReconstructionHead):
    def _block(self, config: HeadConfig, memory_width: int) -> nn.Module:
        return CrossBlock(config.recon_width, memory_width, config.recon_heads, NORM_EPS)

    def forward(self, seen: MaskedTokens) -> Tensor:
        """(B, dropped, 3 patch²): dropped patches only, in raster order."""
        dropped = seen.mask.bool()
        places = self.decoder_pos_embed[:, 1:].expand(len(dropped), -1, -1)
        x = places[dropped].view(len(dropped), -1, places.shape[2]) + self.mask_token
        for block in self.decoder_blocks:
            x = block(x, seen.tokens)
        return self.decoder_pred(self.decoder_norm(x))


def reconstructed_images(patches: Tensor, mask: Tensor, images: Tensor, patch_px: int) -> Tensor:
    """Predicted pixels as images (B, 3, H, W): all of them from `MAEHead`; from `CrossMAEHead`, which predicts
    dropped patches only, the kept ones are those of `images`.
    """
    grid = images.shape[2] // patch_px
    if patches.shape[1] != mask.shape[1]:
        every = patchify(images, patch_px)
        every[mask.bool()] = patches.flatten(0, 1)
        patches = every
    return unpatchify(patches, patch_px, grid, grid)
