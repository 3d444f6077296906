"""CLIP: both towers in one module, named as in OpenAI's files."""

import hashlib

import torch
from torch import Tensor, nn

from sinew_policies.common.errors import DataError
from sinew_policies.psl.clip.text import Transformer
from sinew_policies.psl.clip.vision import ModifiedResNet
from sinew_policies.psl.config import ClipConfig


class Clip(nn.Module):
    """Codes of images and texts in one space; neither is scaled to unit length here."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = ModifiedResNet(config)
        self.transformer = Transformer(config.text_width, config.text_heads, config.text_layers)
        self.token_embedding = nn.Embedding(config.vocabulary, config.text_width)
        self.positional_embedding = nn.Parameter(torch.randn(config.context_length, config.text_width) * 0.01)
        self.ln_final = nn.LayerNorm(config.text_width)
        self.text_projection = nn.Parameter(torch.randn(config.text_width, config.code) * config.text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))  # log 100
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def identity(self) -> str:
        """Equal for networks of the same weights, whose codes alone can be compared."""
        joint = torch.cat([self.text_projection.detach().flatten(), self.logit_scale.detach().view(1)])
        return hashlib.sha256(joint.float().cpu().numpy().tobytes()).hexdigest()[:16]

    def encode_image(self, crops: Tensor) -> Tensor:
        """Crops (B, 3, S, S) in 0..255 to codes (B, code)."""
        code: Tensor = self.visual(self.normalise(crops))
        return code

    def normalise(self, crops: Tensor) -> Tensor:
        """Crops in 0..255 by CLIP's channel means and deviations."""
        mean = crops.new_tensor(self.config.mean).view(3, 1, 1)
        std = crops.new_tensor(self.config.std).view(3, 1, 1)
        return (crops / 255.0 - mean) / std

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids (B, context_length) to codes (B, code), read at the end-of-text token, the largest id.

        Raises DataError for another length.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.config.context_length:
            raise DataError(
                f"tokens have shape {tuple(tokens.shape)}; expected (B, {self.config.context_length}), "
                "as Tokenizer.encode gives them"
            )
        x = self.transformer(self.token_embedding(tokens) + self.positional_embedding)
        last = self.ln_final(x[torch.arange(len(x), device=x.device), tokens.argmax(1)])
        return last @ self.text_projection
