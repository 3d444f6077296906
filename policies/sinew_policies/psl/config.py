"""Everything that fixes the shape of a PSL policy (arXiv 2403.11650) and of the CLIP network inside it."""

from dataclasses import dataclass, field

from sinew_policies.common.errors import ConfigError, name_hint

KERNELS = ("bilinear", "bicubic")
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipConfig:
    """A CLIP network whose visual tower is the modified ResNet; the defaults are OpenAI's RN50."""

    image_size: int = 224  # px, square
    blocks: tuple[int, ...] = (3, 4, 6, 3)  # bottlenecks per stage
    stem_width: int = 64  # channels after the stem; stage k gives 4 * stem_width * 2^k
    visual_heads: int = 32
    code: int = 1024  # width of image and text codes
    context_length: int = 77
    vocabulary: int = 49408
    text_width: int = 512
    text_heads: int = 8
    text_layers: int = 12
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __post_init__(self) -> None:
        if self.image_size % 32:
            raise ConfigError(
                f"clip image_size is {self.image_size}; the tower halves it 5 times, use a multiple of 32"
            )
        if len(self.blocks) != 4 or min(self.blocks) < 1:
            raise ConfigError(f"clip blocks {self.blocks}: expected 4 stages of at least one bottleneck")
        for name, width, heads in (
            ("visual", self.visual_width, self.visual_heads),
            ("text", self.text_width, self.text_heads),
        ):
            if heads < 1 or width % heads:
                raise ConfigError(
                    f"clip {name} width {width} is not a multiple of its {heads} heads; choose one that is"
                )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(f"clip mean {self.mean}, std {self.std}: expected three values, std above 0")

    @property
    def visual_width(self) -> int:
        """Channels of the last stage."""
        return self.stem_width * 32

    @property
    def grid(self) -> int:
        """Cells along one side of the last feature map."""
        return self.image_size // 32


@dataclass(frozen=True)
class PSLConfig:
    """Defaults are the published policy."""

    image_height: int = 480  # px of the RGB frame the robot gives; 79 degrees of horizontal view
    image_width: int = 640
    n_actions: int = 6

    clip: ClipConfig = field(default_factory=ClipConfig)
    semantic_kernel: str = "bicubic"

    layout_size: int = 128  # px, square crop of the layout branch
    layout_kernel: str = "bilinear"
    layout_planes: int = 32  # base width; half of the usual ResNet-50
    layout_blocks: tuple[int, ...] = (3, 4, 6, 3)
    layout_groups: int = 16  # of every GroupNorm in the backbone
    compress_channels: int = 128
    layout_code: int = 128

    fusion_hidden: int = 1024
    fusion_code: int = 512
    action_code: int = 32
    rnn_hidden: int = 512
    rnn_layers: int = 2

    antialias: bool = False
    """Whether resizing filters before it samples. Published weights were trained and evaluated without."""

    def __post_init__(self) -> None:
        for name in ("semantic_kernel", "layout_kernel"):
            kernel = getattr(self, name)
            if kernel not in KERNELS:
                raise ConfigError(f"{name} is '{kernel}'; {name_hint(kernel, KERNELS)}")
        if self.layout_size % 32:
            raise ConfigError(
                f"layout_size is {self.layout_size}; the backbone halves it 5 times, use a multiple of 32"
            )
        if len(self.layout_blocks) != 4 or min(self.layout_blocks) < 1:
            raise ConfigError(f"layout_blocks {self.layout_blocks}: expected 4 stages of at least one bottleneck")
        if self.layout_planes % self.layout_groups:
            raise ConfigError(
                f"layout_planes {self.layout_planes} is not a multiple of layout_groups {self.layout_groups}; "
                "choose one that is"
            )
        if self.rnn_layers < 1 or self.n_actions < 1:
            raise ConfigError(
                f"rnn_layers is {self.rnn_layers}, n_actions is {self.n_actions}; expected at least 1 of each"
            )
        if min(self.image_height, self.image_width) < 1:
            raise ConfigError(f"frames of {self.image_height} x {self.image_width} px; expected at least one pixel")

    @property
    def layout_features(self) -> int:
        """Numbers in the flattened, compressed feature map."""
        return int(self.compress_channels * (self.layout_size // 32) ** 2)

    @property
    def rnn_input(self) -> int:
        return self.fusion_code + self.layout_code + self.action_code

    @staticmethod
    def published() -> "PSLConfig":
        return PSLConfig()

    @staticmethod
    def tiny() -> "PSLConfig":
        """A few hundred thousand parameters of the same make, for tests and for learning to read the code."""
        return PSLConfig(
            image_height=48,
            image_width=64,
            clip=ClipConfig(
                image_size=32,
                blocks=(1, 1, 1, 1),
                stem_width=4,
                visual_heads=4,
                code=16,
                text_width=16,
                text_heads=2,
                text_layers=2,
            ),
            layout_size=32,
            layout_planes=8,
            layout_blocks=(1, 1, 1, 1),
            layout_groups=4,
            compress_channels=8,
            layout_code=8,
            fusion_hidden=32,
            fusion_code=16,
            action_code=4,
            rnn_hidden=24,
        )
