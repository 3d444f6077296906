"""Everything that fixes the shape and the behaviour of a T3 network (arXiv 2406.13640).

A network is sensor encoders, one shared trunk and task heads ("decoders" in the published folders); each part
has its own configuration, because each part is a file of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sinew_policies.common.errors import ConfigError, name_hint

TWO_TOWER_KINDS = ("pose", "two_tower_mlp")
RECONSTRUCTION_KINDS = ("mae", "cross_mae")
HEAD_KINDS = ("mlp", "pool", *TWO_TOWER_KINDS, *RECONSTRUCTION_KINDS)
POOLS = ("cls", "global")

# Far beyond the published sizes; a damaged configuration must not ask for all memory or hang.
_MAX_WIDTH = 65_536
_MAX_DEPTH = 256
_MAX_MLP_RATIO = 64.0
_MAX_IMAGE_PX = 4096
_MAX_GRID = 256  # patches along a side


@dataclass(frozen=True)
class EncoderConfig:
    """A sensor's own layers. With `masking` it is the encoder of masked reconstruction: positions are a fixed
    sine-cosine table, that fraction of the patches is dropped, and LayerNorm's epsilon is the trunk's.
    """

    width: int = 192
    depth: int = 3
    n_heads: int = 3
    mlp_ratio: float = 4.0
    image_px: int = 224  # height and width
    patch_px: int = 16
    masking: float | None = None

    def __post_init__(self) -> None:
        _check_blocks(self.width, self.depth, self.n_heads, "encoder")
        _check_mlp_ratio(self.mlp_ratio, self.width, "encoder")
        if not 1 <= self.patch_px <= self.image_px <= _MAX_IMAGE_PX:
            raise ConfigError(
                f"image_px is {self.image_px} and patch_px {self.patch_px}; expected 1 <= patch_px <= image_px <= "
                f"{_MAX_IMAGE_PX}"
            )
        if self.image_px % self.patch_px:
            raise ConfigError(
                f"image_px {self.image_px} is not a multiple of patch_px {self.patch_px}; choose one that is"
            )
        if self.grid > _MAX_GRID:
            raise ConfigError(
                f"image_px {self.image_px} with patch_px {self.patch_px} makes {self.grid} patches along a side; "
                f"expected at most {_MAX_GRID}: choose larger patches"
            )
        if self.masking is not None and not 0.0 <= self.masking < 1.0:
            raise ConfigError(f"masking is {self.masking}; expected a fraction 0 <= masking < 1, or none")

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_px // self.patch_px

    @property
    def n_patches(self) -> int:
        return self.grid**2

    @property
    def n_kept(self) -> int:
        """Patches that stay after masking."""
        return int(self.n_patches * (1.0 - (self.masking or 0.0)))

    @property
    def norm_eps(self) -> float:
        """1e-6 in plain encoders, 1e-5 in those of masked reconstruction, as published."""
        return 1e-6 if self.masking is None else 1e-5


@dataclass(frozen=True)
class TrunkConfig:
    width: int = 192
    depth: int = 9
    n_heads: int = 3
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        _check_blocks(self.width, self.depth, self.n_heads, "trunk")
        _check_mlp_ratio(self.mlp_ratio, self.width, "trunk")


@dataclass(frozen=True)
class HeadConfig:
    """A task's own layers; which values matter depends on `kind`, one of HEAD_KINDS.

    mlp: pooled tokens to `n_out` numbers. pool: pooled tokens, nothing learned. pose: two images to `n_out`
    numbers through convolutions. two_tower_mlp: two pooled images. mae, cross_mae: pixels of dropped patches.
    """

    kind: str = "mlp"
    n_out: int = 0
    pool: str = "cls"  # cls = first token, global = mean of the patch tokens
    hidden: tuple[int, ...] = ()  # empty: the published widths of that kind
    dropout: float = 0.1
    recon_width: int = 512
    recon_depth: int = 8
    recon_heads: int = 16

    def __post_init__(self) -> None:
        if self.kind not in HEAD_KINDS:
            raise ConfigError(f"unknown kind of head '{self.kind}'; {name_hint(self.kind, HEAD_KINDS)}")
        if self.pool not in POOLS:
            raise ConfigError(f"unknown pooling '{self.pool}'; {name_hint(self.pool, POOLS)}")
        if self.has_outputs and not 1 <= self.n_out <= _MAX_WIDTH:
            raise ConfigError(f"a head of kind {self.kind} has n_out {self.n_out}; expected 1 to {_MAX_WIDTH}")
        if not all(1 <= n <= _MAX_WIDTH for n in self.hidden) or (
            self.kind == "pose" and len(self.hidden) not in (0, 2)
        ):
            raise ConfigError(
                f"a head of kind {self.kind} has hidden {self.hidden}; expected widths from 1 to "
                f"{_MAX_WIDTH}{', two of them' if self.kind == 'pose' else ''}, or none for the published ones"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout is {self.dropout}; expected 0 <= dropout < 1")
        if self.reconstructs:
            _check_blocks(self.recon_width, self.recon_depth, self.recon_heads, "reconstruction")

    @property
    def has_outputs(self) -> bool:
        return self.kind in ("mlp", *TWO_TOWER_KINDS)

    @property
    def two_towers(self) -> bool:
        return self.kind in TWO_TOWER_KINDS

    @property
    def reconstructs(self) -> bool:
        return self.kind in RECONSTRUCTION_KINDS


@dataclass(frozen=True)
class T3Config:
    """Sensors and heads by name; all sensors share one shape of encoder."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    sensors: tuple[str, ...] = ("mini",)
    heads: dict[str, HeadConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.encoder.width != self.trunk.width:
            raise ConfigError(
                f"encoder width {self.encoder.width} and trunk width {self.trunk.width} differ; "
                "take both from one size"
            )
        if not self.sensors or len(set(self.sensors)) != len(self.sensors):
            raise ConfigError(f"sensors {self.sensors}: expected at least one, each named once")
        for name in (*self.sensors, *self.heads):
            if not name or not name.replace("-", "_").isidentifier():
                raise ConfigError(
                    f"'{name}' cannot name a sensor or head; use letters, digits and '_', as in gs_green"
                )
        for name, head in self.heads.items():
            if head.reconstructs and self.encoder.masking is None:
                raise ConfigError(
                    f"head '{name}' reconstructs dropped patches, but encoder.masking is none; "
                    "set it (published: 0.4 for mae, 0.3 for cross_mae)"
                )

    @staticmethod
    def of_size(
        size: str,
        sensors: Sequence[str] = ("mini",),
        heads: Mapping[str, HeadConfig] | None = None,
        *,
        masking: float | None = None,
    ) -> "T3Config":
        """tiny, small, medium or large with the named sensors and heads."""
        if size not in SIZES:
            raise ConfigError(f"unknown size '{size}'; {name_hint(size, SIZES)}")
        width, encoder_depth, trunk_depth = SIZES[size]
        n_heads = default_heads(width)
        return T3Config(
            EncoderConfig(width, encoder_depth, n_heads, masking=masking),
            TrunkConfig(width, trunk_depth, n_heads),
            tuple(sensors),
            dict(heads or {}),
        )


def _check_blocks(width: int, depth: int, n_heads: int, part: str) -> None:
    if n_heads < 1 or not 4 <= width <= _MAX_WIDTH or width % n_heads or width % 4:
        raise ConfigError(
            f"{part} width {width} with {n_heads} attention heads; expected a multiple of 4 and of the heads, at "
            f"most {_MAX_WIDTH}"
        )
    if not 0 <= depth <= _MAX_DEPTH:
        raise ConfigError(f"{part} depth {depth}; expected 0 to {_MAX_DEPTH} blocks")


def _check_mlp_ratio(ratio: float, width: int, part: str) -> None:
    if not 1.0 / width <= ratio <= _MAX_MLP_RATIO:
        raise ConfigError(
            f"{part} mlp_ratio {ratio}; expected a number from 1 / width = {1.0 / width:.3g} to {_MAX_MLP_RATIO:g}"
        )


# width, encoder depth, trunk depth
SIZES = {
    "tiny": (192, 3, 9),
    "small": (384, 3, 9),
    "medium": (768, 3, 9),
    "large": (1024, 6, 18),
}

PUBLISHED_HEADS: dict[str, HeadConfig] = {
    "mae_recon_single": HeadConfig("mae"),
    "cls_touch_and_go": HeadConfig("mlp", 22),
    "cls_calandra17": HeadConfig("mlp", 106),
    "cls_yuan18_textile_type": HeadConfig("mlp", 20),
    "cls_yuan18_smoothness": HeadConfig("mlp", 5),
    "cls_yuan18_fuzziness": HeadConfig("mlp", 4),
    "cls_objectfolder": HeadConfig("mlp", 100),
    "cls_cnc": HeadConfig("mlp", 6),
    "variance_estimation": HeadConfig("mlp", 1, pool="global"),
    "pose_estimation_6d_mini": HeadConfig("pose", 9),
    "pose_estimation_6d_wedge": HeadConfig("pose", 9),
    "pose_estimation_6d_digit": HeadConfig("pose", 9),
    "pose_estimation_3d": HeadConfig("pose", 3),
}

MAE_MASKING = 0.4
CROSS_MAE_MASKING = 0.3


def default_heads(width: int) -> int:
    """Attention heads of the published sizes: 64 channels each. No weight file says the count."""
    return max(1, width // 64)


def published_head(name: str) -> HeadConfig:
    """Raises ConfigError for a name that was not published."""
    if name not in PUBLISHED_HEADS:
        raise ConfigError(
            f"head '{name}' is not one of the published; give its HeadConfig. {name_hint(name, PUBLISHED_HEADS)}"
        )
    return PUBLISHED_HEADS[name]
