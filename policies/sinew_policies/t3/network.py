"""The T3 network: tactile images of many sensors through one trunk to many tasks (arXiv 2406.13640)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.t3.config import EncoderConfig, HeadConfig, T3Config
from sinew_policies.t3.decoders import MLPHead, PoolHead, PoseHead, TwoTowerHead, TwoTowerMLPHead
from sinew_policies.t3.encoder import SensorEncoder
from sinew_policies.t3.reconstruction import CrossMAEHead, MAEHead
from sinew_policies.t3.trunk import Trunk


@dataclass(frozen=True)
class Reconstruction:
    patches: Tensor  # mae (B, N, 3 patch²), all patches; cross_mae (B, dropped, 3 patch²), dropped in raster order
    mask: Tensor  # (B, N) 1 = dropped
    ids_restore: Tensor  # (B, N)


class T3(nn.Module):
    """`encoders.<sensor>`, `trunk`, `decoders.<head>`; names and shapes of tensors are the published ones.

    Images are normalised RGB (B, 3, image_px, image_px), see `preprocess`. Unknown sensors and heads raise
    ConfigError with the valid names.
    """

    def __init__(self, config: T3Config) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict({name: SensorEncoder(config.encoder) for name in config.sensors})
        self.trunk = Trunk(config.trunk)
        self.decoders = nn.ModuleDict({name: make_head(h, config.encoder) for name, h in config.heads.items()})

    def tokens(self, sensor: str, images: Tensor) -> Tensor:
        """(B, 1 + N, W) after the trunk, CLS first; what every head but the reconstructing ones takes."""
        return self.trunk(self.encoder(sensor)(images))

    def forward(self, sensor: str, head: str, images: Tensor, other: Tensor | None = None) -> Tensor:
        """Raw output (B, n_out) of one head; `other` is the second image of two-tower heads.

        Raises ConfigError when `other` is missing or too much, or when the head reconstructs.
        """
        decoder = self.head(head)
        if self.config.heads[head].reconstructs:
            raise ConfigError(f"head '{head}' reconstructs pixels; call T3.reconstruct")
        if isinstance(decoder, TwoTowerHead) != (other is not None):
            wanted = "two images" if other is None else "one image"
            raise ConfigError(f"head '{head}' takes {wanted} per output; give `other` exactly with two-tower heads")
        tokens = self.tokens(sensor, images)
        return decoder(tokens) if other is None else decoder(tokens, self.tokens(sensor, other))

    def reconstruct(self, sensor: str, head: str, images: Tensor, noise: Tensor) -> Reconstruction:
        """Pixels of dropped patches; `noise` (B, N), uniform, decides which: the lowest stay.

        Raises ConfigError when the head does not reconstruct.
        """
        decoder = self.head(head)
        if not self.config.heads[head].reconstructs:
            raise ConfigError(f"head '{head}' is a {self.config.heads[head].kind}, it cannot reconstruct pixels")
        seen = self.encoder(sensor).masked(images, noise)
        seen = replace(seen, tokens=self.trunk(seen.tokens))
        return Reconstruction(decoder(seen), seen.mask, seen.ids_restore)

    def encoder(self, sensor: str) -> SensorEncoder:
        if sensor not in self.encoders:
            raise ConfigError(f"no encoder for sensor '{sensor}'; {name_hint(sensor, self.encoders.keys())}")
        encoder = self.encoders[sensor]
        assert isinstance(encoder, SensorEncoder)
        return encoder

    def head(self, name: str) -> nn.Module:
        if name not in self.decoders:
            raise ConfigError(f"no head '{name}'; {name_hint(name, self.decoders.keys())}")
        return self.decoders[name]


def make_head(config: HeadConfig, encoder: EncoderConfig) -> nn.Module:
    """A head of `config.kind` with fresh weights, for tokens of that encoder."""
    width = encoder.width
    match config.kind:
        case "mlp":
            return MLPHead(config, width)
        case "pool":
            return PoolHead(config)
        case "pose":
            return PoseHead(config, width)
        case "two_tower_mlp":
            return TwoTowerMLPHead(config, width)
        case "mae":
            return MAEHead(config, encoder)
        case _:
            return CrossMAEHead(config, encoder)


def masking_noise(n_images: int, n_patches: int, generator: torch.Generator) -> Tensor:
    """Uniform noise (n_images, n_patches) for `T3.reconstruct`, on the generator's device."""
    return torch.rand(n_images, n_patches, generator=generator, device=generator.device)
