"""Which points an encoder groups: furthest-point, ball and three-nearest indices of a cloud.

They depend on coordinates only, so a data loader can make them ahead of the network.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.pointops import ball_query, furthest_point_sample, three_nn


@dataclass(frozen=True)
class LevelNeighbours:
    """One set-abstraction level, M centres chosen from P points of the level before; B clouds."""

    centres: Tensor  # (B, M) int64 into the P points
    xyz: Tensor  # (B, M, 3) metres, coordinates of the centres
    small: Tensor  # (B, M, group_small) int64 into the P points
    large: Tensor  # (B, M, group_large) int64


@dataclass(frozen=True)
class Interpolation:
    """For Q points of the finer level: their three nearest of the coarser one."""

    d2: Tensor  # (B, Q, 3) squared metres
    idx: Tensor  # (B, Q, 3) int64
    weight: Tensor  # (B, Q, 3) inverse distance, sums to 1


@dataclass(frozen=True)
class Neighbours:
    """Index structure of the scene encoder: levels fine to coarse, interpolations[k] from level k+1 to k."""

    xyz: Tensor  # (B, N, 3)
    levels: tuple[LevelNeighbours, ...]
    interpolations: tuple[Interpolation, ...]

    def level_xyz(self, level: int) -> Tensor:
        """Coordinates (B, P, 3) of the points of level 0 (all) .. 4."""
        return self.xyz if level == 0 else self.levels[level - 1].xyz


def group_levels(xyz: Tensor, config: M2T2Config, n_levels: int) -> tuple[LevelNeighbours, ...]:
    """Centres and neighbour groups of the first `n_levels` levels of centred coordinates (B, N, 3)."""
    levels = []
    for k in range(n_levels):
        n_centres = xyz.shape[1] // config.level_divisor
        if k == 0 or config.compat:
            centres = furthest_point_sample(xyz, n_centres, config.compat)
        else:
            # Furthest-point order is nested: a prefix of it is the furthest-point sample of the prefix.
            centres = torch.arange(n_centres, device=xyz.device).expand(len(xyz), n_centres)
        centre_xyz = xyz.gather(1, centres[..., None].expand(-1, -1, 3))
        small_m, large_m = config.radii_m(k)
        levels.append(
            LevelNeighbours(
                centres,
                centre_xyz,
                ball_query(xyz, centre_xyz, small_m, config.group_small),
                ball_query(xyz, centre_xyz, large_m, config.group_large),
            )
        )
        xyz = centre_xyz
    return tuple(levels)


def scene_neighbours(xyz: Tensor, config: M2T2Config) -> Neighbours:
    """All indices the scene encoder needs for centred coordinates (B, N, 3) float32."""
    levels = group_levels(xyz, config, 4)
    clouds = [xyz, *(level.xyz for level in levels)]
    return Neighbours(xyz, levels, tuple(interpolate(fine, coarse) for fine, coarse in pairwise(clouds)))


def interpolate(fine: Tensor, coarse: Tensor) -> Interpolation:
    d2, idx = three_nn(fine, coarse)
    inverse = 1.0 / (d2.sqrt() + 1e-8)
    return Interpolation(d2, idx, inverse / inverse.sum(-1, keepdim=True))
