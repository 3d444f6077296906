"""What a training of T3 is told."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.t3.config import (
    CROSS_MAE_MASKING,
    MAE_MASKING,
    SIZES,
    EncoderConfig,
    HeadConfig,
    TrunkConfig,
    default_heads,
)
from sinew_policies.t3.mixing import RULES

Stage = Literal["pretrain", "supervise", "finetune"]

RECONSTRUCTION_HEAD = "mae_recon_single"
FRESH = "fresh"  # in place of a sensor's name: an encoder of random weights


@dataclass(frozen=True)
class Shape:
    """Sizes of a new network; the published ones by name in `Shape.of_size`."""

    width: int = 192
    n_heads: int = 3
    encoder_depth: int = 3
    trunk_depth: int = 9
    image_px: int = 224
    patch_px: int = 16
    recon_width: int = 512
    recon_depth: int = 8
    recon_heads: int = 16
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout is {self.dropout}; expected a share from 0 to below 1")

    @staticmethod
    def of_size(size: str) -> "Shape":
        if size not in SIZES:
            raise ConfigError(f"unknown size '{size}'; {name_hint(size, SIZES)}")
        width, encoder_depth, trunk_depth = SIZES[size]
        return Shape(width, default_heads(width), encoder_depth, trunk_depth)

    def encoder(self, masking: float | None) -> EncoderConfig:
        return EncoderConfig(
            self.width,
            self.encoder_depth,
            self.n_heads,
            image_px=self.image_px,
            patch_px=self.patch_px,
            masking=masking,
        )

    def trunk(self) -> TrunkConfig:
        return TrunkConfig(self.width, self.trunk_depth, self.n_heads)

    def reconstruction(self, cross: bool) -> HeadConfig:
        return HeadConfig(
            "cross_mae" if cross else "mae",
            recon_width=self.recon_width,
            recon_depth=self.recon_depth,
            recon_heads=self.recon_heads,
        )


@dataclass(frozen=True)
class TrainConfig:
    """Defaults are the published ones of every stage."""

    stage: Stage
    data: Path
    out: Path
    steps: int = 100_000
    seed: int = 0
    batch: int = 64  # samples per step, all of one set, over all processes
    sets: tuple[str, ...] | None = None  # none: all that serve the stage
    tasks: tuple[str, ...] | None = None  # heads to train; none: all that the sets have labels for
    start: Path | None = None  # component folder to go on from; none: random weights
    encoder_from: str | None = None  # sensor whose encoder starts sensors that `start` lacks, or FRESH
    shape: Shape = Shape()  # of a new network
    cross_reconstruction: bool = False  # reconstruct dropped patches by cross-attention
    mix: str = "root"
    lr: float = 1e-4
    lr_floor: float = 1e-8
    other_lr_scale: float = 1.0  # of everything but the trunk
    adam_eps: float = 1e-6
    weight_decay: float = 0.1
    freeze_encoder: bool = False
    freeze_trunk: bool = False
    unfreeze_at: int | None = None  # step from which everything is trained; published 20 000
    limit_samples: int | None = None  # train on the first N samples of each set
    validate_every: int = 750
    validation_batches: int = 50  # at most, per set and task
    best_after: int = 50  # no checkpoint before this step is the best
    save_every_s: float = 300.0
    processes: int = 1
    loaders: int = 0  # data worker processes per training process
    device: str = "cpu"
    stop_after_steps: int | None = None  # interrupt there, as a signal would

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "lr", "limit_samples", "processes", "validate_every", "validation_batches"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; expected a finite number above 0")
        for name in ("seed", "loaders", "unfreeze_at", "other_lr_scale", "weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}; expected a finite number, 0 or more")
        if self.mix not in RULES:
            raise ConfigError(f"unknown mixing rule '{self.mix}'; {name_hint(self.mix, RULES)}")
        if self.batch % self.processes:
            raise ConfigError(f"batch {self.batch} does not divide by {self.processes} processes")
        if self.stage == "finetune" and (self.tasks is None or len(self.tasks) != 1):
            raise ConfigError("finetune trains one head; name it with --task")
        if self.encoder_from is not None and self.start is None:
            raise ConfigError(
                f"encoder_from is '{self.encoder_from}', which is of use with components to start from: name them "
                "with --from"
            )
        frozen = self.freeze_encoder or self.freeze_trunk
        if self.unfreeze_at is not None and not frozen:
            raise ConfigError("unfreeze_at is given, but nothing is frozen; freeze the encoder, the trunk or both")
        if frozen and self.start is None:
            raise ConfigError(
                "frozen parts keep the weights they start with, and random ones are of no use; name a component "
                "folder to start from with --from"
            )

    @property
    def masking(self) -> float | None:
        if self.stage != "pretrain":
            return None
        return CROSS_MAE_MASKING if self.cross_reconstruction else MAE_MASKING
