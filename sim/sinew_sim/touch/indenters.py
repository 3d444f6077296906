"""Indenters: rigid reliefs that are pressed into a gel.

An indenter is the graph z = relief(x, y) in its own frame, millimetres: z = 0 at the part that touches first, more
where the surface recedes from the gel, at most RELIEF_CAP_MM. Walls slope, so that a tilted one is still a graph.
"""

from collections.abc import Callable

import numpy as np

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.types import F64

Relief = Callable[[F64, F64], F64]

RELIEF_CAP_MM = 3.0

_WALL_SLOPE = 2.5  # mm of depth per mm outward


def relief_of(name: str) -> Relief:
    """Raises ConfigError for an unknown name."""
    if name not in INDENTERS:
        raise ConfigError(f"unknown indenter '{name}'; {name_hint(name, INDENTERS)}")
    return INDENTERS[name]


def _walls(distance_mm: F64) -> F64:
    """Flat where the signed distance to the outline is negative, sloping away outside."""
    return np.minimum(_WALL_SLOPE * np.maximum(distance_mm, 0.0), RELIEF_CAP_MM)


def _dome(x: F64, y: F64) -> F64:
    return np.minimum((x * x + y * y) / (2.0 * 4.0), RELIEF_CAP_MM)


def _ridge(x: F64, y: F64) -> F64:
    along = np.maximum(np.abs(x) - 3.5, 0.0)
    return np.minimum((along * along + y * y) / (2.0 * 2.0), RELIEF_CAP_MM)


def _box(x: F64, y: F64, half_x: float, half_y: float) -> F64:
    """Signed distance to a rectangle about the origin."""
    dx, dy = np.abs(x) - half_x, np.abs(y) - half_y
    outside = np.hypot(np.maximum(dx, 0.0), np.maximum(dy, 0.0))
    return outside + np.minimum(np.maximum(dx, dy), 0.0)


def _square(x: F64, y: F64) -> F64:
    return _walls(_box(x, y, 2.0, 2.0))


def _ring(x: F64, y: F64) -> F64:
    return _walls(np.abs(np.hypot(x, y) - 2.6) - 0.45)


def _cross(x: F64, y: F64) -> F64:
    return _walls(np.minimum(_box(x, y, 3.2, 0.5), _box(x, y, 0.5, 3.2)))


def _corner(x: F64, y: F64) -> F64:
    """An L with a long and a short leg: no turn or mirror maps it to itself."""
    return _walls(np.minimum(_box(x - 1.0, y + 1.6, 3.0, 0.55), _box(x + 1.45, y - 0.4, 0.55, 2.2)))


def _key(x: F64, y: F64) -> F64:
    """A ring with a shaft and one tooth."""
    ring = np.abs(np.hypot(x + 2.2, y) - 1.5) - 0.4
    shaft = _box(x - 1.4, y, 2.2, 0.4)
    tooth = _box(x - 3.0, y - 0.9, 0.4, 0.9)
    return _walls(np.minimum(np.minimum(ring, shaft), tooth))


def _dots(x: F64, y: F64) -> F64:
    """Three balls at the corners of an irregular triangle, one of them higher."""
    balls = [((x - cx) ** 2 + (y - cy) ** 2) / (2.0 * r) + h for cx, cy, r, h in _DOTS]
    return np.minimum(np.minimum.reduce(balls), RELIEF_CAP_MM)


_DOTS = ((-2.4, -1.2, 1.2, 0.0), (2.6, -0.4, 0.8, 0.0), (-0.4, 2.2, 1.0, 0.15))

INDENTERS: dict[str, Relief] = {
    "dome": _dome,
    "ridge": _ridge,
    "square": _square,
    "ring": _ring,
    "cross": _cross,
    "corner": _corner,
    "key": _key,
    "dots": _dots,
}
"""By name; the first six are the classes of probing sets, in this order."""

PROBES = ("dome", "ridge", "square", "ring", "cross", "corner")
