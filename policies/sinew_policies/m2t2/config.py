"""Everything that fixes the shape and the behaviour of an M2T2 network (arXiv 2311.00926)."""

from dataclasses import dataclass

from sinew_policies.common.errors import ConfigError

PUBLISHED_WIDTH_EDGES_M = (
    0.0,
    0.00794435329,
    0.0158887021,
    0.0238330509,
    0.0317773996,
    0.0397217484,
    0.0476660972,
    0.055610446,
    0.0635547948,
    0.0714991435,
    0.08,
)


@dataclass(frozen=True)
class M2T2Config:
    """Defaults are the published pick-and-place network; `language()` and `small()` are the other two.

    Level k of the encoder (0..3) keeps n_points / level_divisor^(k+1) points and groups neighbours within
    radius_0_m * radius_growth^k and radius_growth times that.
    """

    n_points: int = 16384
    n_held_points: int = 1024
    level_divisor: int = 4
    radius_0_m: float = 0.05
    radius_growth: float = 2.0
    group_small: int = 16
    group_large: int = 32
    width: float = 1.0  # multiplies every encoder channel count
    use_rgb: bool = False
    use_height: bool = False  # height over z = 0 as a point feature; not in the published network
    mask_level: int = 0  # feature level whose columns are dotted with mask embeddings
    attended_levels: tuple[int, ...] = (3, 2, 1)  # memory of the decoder layers, visited in turn

    token_width: int = 256
    ffn_width: int = 512
    n_layers: int = 9
    n_heads: int = 8
    n_grasp_queries: int = 100
    n_place_queries: int = 8
    n_text_tokens: int = 0
    text_width: int = 512
    masked_attention: bool = True
    task_embedding: bool = True
    action_hidden: int = 256
    action_layers: int = 2
    action_uses_query_embedding: bool = False
    n_extra_params: int = 0
    dense_head: bool = False  # scores every point as a contact; not in the published network

    width_edges_m: tuple[float, ...] = PUBLISHED_WIDTH_EDGES_M
    gripper_depth_m: float = 0.1034
    place_lift_m: float = 0.02
    max_points_per_query: int | None = None
    mask_threshold: float = 0.4
    object_threshold: float = 0.4

    compat: bool = True
    """Reproduces the published quirks that weights were trained with: no furthest-point choice within 3.2 cm of
    the centroid, and a position code normalised over the three coordinates of each point."""
    position_extent_m: float = 1.0  # wavelength scale of the position code without compat
    table_share: float | None = None  # see sampling.choose_points

    def __post_init__(self) -> None:
        if self.token_width % self.n_heads:
            raise ConfigError(
                f"token_width {self.token_width} is not a multiple of n_heads {self.n_heads}; choose one that is"
            )
        if self.n_points < self.level_divisor**4:
            raise ConfigError(
                f"n_points {self.n_points} leaves no point at the coarsest of 4 levels; "
                f"use at least level_divisor**4 = {self.level_divisor**4}"
            )
        if self.n_grasp_queries < 1:
            raise ConfigError(f"n_grasp_queries is {self.n_grasp_queries}; expected at least 1")
        bad = [level for level in self.attended_levels if level not in range(5)]
        if bad or not self.attended_levels:
            raise ConfigError(f"attended_levels {self.attended_levels}: expected levels within 0..4")

    @property
    def n_feature_channels(self) -> int:
        """Channels per point beside the coordinates."""
        return 3 * self.use_rgb + self.use_height

    @property
    def has_place(self) -> bool:
        return self.n_place_queries > 0

    @property
    def has_objectness(self) -> bool:
        return self.n_grasp_queries > 1

    def channels(self, published: int) -> int:
        """A published encoder channel count scaled by the width multiplier, a multiple of 8."""
        return max(8, 8 * round(published * self.width / 8))

    def level_channels(self, level: int) -> int:
        """Channels of the upsampled feature level, 0 finest .. 4 coarsest."""
        return self.channels((128, 256, 512, 512, 1024)[level])

    def level_points(self, level: int) -> int:
        """Points at level 0 (all) .. 4."""
        return int(self.n_points // self.level_divisor**level)

    def radii_m(self, level: int) -> tuple[float, float]:
        small = self.radius_0_m * self.radius_growth**level
        return small, small * self.radius_growth

    @staticmethod
    def published() -> "M2T2Config":
        """The public pick-and-place weights (m2t2.pth)."""
        return M2T2Config()

    @staticmethod
    def language() -> "M2T2Config":
        """The public text-conditioned weights (m2t2_language.pth)."""
        return M2T2Config(
            attended_levels=(4, 3, 2),
            n_layers=3,
            n_grasp_queries=1,
            n_place_queries=1,
            n_text_tokens=77,
            task_embedding=False,
            action_layers=3,
            n_extra_params=4,
            mask_threshold=0.1,
        )

    @staticmethod
    def small() -> "M2T2Config":
        """Picking within a 30 cm workspace, fast on one CPU core."""
        return M2T2Config(
            n_points=2048,
            radius_0_m=0.016,
            width=0.5,
            use_height=True,
            attended_levels=(3, 2, 1),
            token_width=128,
            ffn_width=256,
            n_layers=3,
            n_heads=4,
            n_grasp_queries=12,
            n_place_queries=0,
            task_embedding=False,
            action_hidden=128,
            dense_head=True,
            mask_threshold=0.3,
            object_threshold=0.3,
            compat=False,
            position_extent_m=0.3,
            table_share=0.2,
        )
