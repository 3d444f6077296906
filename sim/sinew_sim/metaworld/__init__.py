"""Meta-World's tasks as seeded environments, their scripted experts, and data sets of graded quality."""

from sinew_sim.metaworld.collection import collect
from sinew_sim.metaworld.mixture import GRADED, SCARCE, QualityMix

__all__ = ["GRADED", "SCARCE", "QualityMix", "collect"]
