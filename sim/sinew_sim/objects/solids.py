"""Shape families of one or two convex pieces: boxes, cylinders, prisms, superellipsoids, blends, L and T."""

import numpy as np

from sinew_policies.common.types import F64
from sinew_sim.objects.convex import convex_hull
from sinew_sim.objects.shapes import (
    Shape,
    circle,
    convex_shape,
    cuboid,
    extrude,
    polygon,
    rectangle,
)

_STEEPEST_TAPER = 0.2
"""Side slope of tapered solids; two jaws on opposite sides must stay within a common friction cone."""


def box(rng: np.random.Generator) -> Shape:
    """Two sides fit the jaw, so that the box can be held whichever face it lies on."""
    sides = np.array([rng.uniform(0.018, 0.065), rng.uniform(0.025, 0.068), rng.uniform(0.035, 0.135)])
    x, y, z = rng.permutation(sides) if rng.random() < 0.6 else sides
    z = min(z, 4.0 * min(x, y))  # a taller one would not stand
    chamfer = rng.choice([0.0, rng.uniform(0.05, 0.25)]) * min(x, y)
    outline = rectangle(x, y, chamfer)
    return convex_shape([polygon(outline, 0.0), polygon(outline, z)])


def cylinder(rng: np.random.Generator) -> Shape:
    radius = rng.uniform(0.012, 0.034)
    height = min(rng.uniform(0.03, 0.14), 7.0 * radius)
    return convex_shape([circle(radius, 0.0, 32), circle(radius, height, 32)])


def prism(rng: np.random.Generator) -> Shape:
    """Regular three- to eight-sided prism, often tapered."""
    sides = int(rng.integers(3, 9))
    low = rng.uniform(0.016, 0.036)
    height = min(rng.uniform(0.03, 0.12), 4.0 * low)
    high = low - rng.uniform(0.0, 1.0) * min(0.4 * low, _STEEPEST_TAPER * height)
    return convex_shape([circle(low, 0.0, sides), circle(high, height, sides)])


def superellipsoid(rng: np.random.Generator) -> Shape:
    """|x/a|^(2/e) + |y/b|^(2/e), then with z in the same way; cut flat below so that it stands."""
    a, b = rng.uniform(0.018, 0.034, 2)
    c = min(rng.uniform(0.018, 0.065), 2.2 * min(a, b))
    east, north = rng.uniform(0.25, 1.0, 2)
    cut = rng.uniform(0.75, 0.92)
    count = 24
    w = 2.0 * np.pi * np.arange(count) / count
    lowest = -np.arcsin(cut ** (1.0 / north))
    rings = []
    for n in np.linspace(lowest, np.pi / 2 - 0.12, 11):
        flat = _power(np.cos(n), north)
        x, y = a * flat * _power(np.cos(w), east), b * flat * _power(np.sin(w), east)
        rings.append(np.stack([x, y, np.full(count, c * _power(np.sin(n), north))], axis=1))
    return convex_shape(rings)


def blend(rng: np.random.Generator) -> Shape:
    """A foot of one outline passing into a top of another: round to square, turned or shrunk."""
    count = 24
    angle = 2.0 * np.pi * np.arange(count) / count
    foot, top = _rounded(rng, angle), _rounded(rng, angle)
    height = min(rng.uniform(0.035, 0.12), 4.0 * float(np.ptp(foot, axis=0).min()))
    # Pull the top towards the foot's outline until no side is too steep to hold.
    overhang = float(np.abs(np.linalg.norm(top, axis=1) - np.linalg.norm(foot, axis=1)).max())
    top = foot + (top - foot) * min(1.0, _STEEPEST_TAPER * height / max(overhang, 1e-9))
    # The convex hull of both outlines: ruled quads of a loft would be slightly concave when the two differ.
    corners = np.concatenate([polygon(foot, 0.0), polygon(top, height)])
    return _hull_shape(corners)


def l_extrusion(rng: np.random.Generator) -> Shape:
    leg, foot = rng.uniform(0.055, 0.12), rng.uniform(0.045, 0.09)
    t_leg, t_foot = rng.uniform(0.015, 0.035, 2)
    depth = rng.uniform(0.03, 0.07)
    outline = np.array([[0, 0], [foot, 0], [foot, t_foot], [t_leg, t_foot], [t_leg, leg], [0, leg]], float)
    triangles = [[3, 4, 5], [3, 5, 0], [3, 0, 1], [3, 1, 2]]
    v, f = extrude(outline, triangles, depth)
    pieces = (
        cuboid([0, 0, 0], [t_leg, leg, depth]),
        cuboid([t_leg, 0, 0], [foot, t_foot, depth]),
    )
    return _tip(Shape(v, f, pieces), rng.random() < 0.5)


def t_extrusion(rng: np.random.Generator) -> Shape:
    bar, stem = rng.uniform(0.06, 0.11), rng.uniform(0.04, 0.09)
    t_bar, t_stem = rng.uniform(0.015, 0.03), rng.uniform(0.018, 0.035)
    depth = rng.uniform(0.03, 0.07)
    h, s, top = bar / 2, t_stem / 2, t_bar + stem
    # The bar lies at y = 0, so that the tipped T stands on it.
    outline = np.array(
        [[-h, 0], [h, 0], [h, t_bar], [s, t_bar], [s, top], [-s, top], [-s, t_bar], [-h, t_bar]], float
    )
    triangles = [[0, 6, 7], [0, 3, 6], [0, 1, 3], [1, 2, 3], [3, 4, 5], [3, 5, 6]]
    v, f = extrude(outline, triangles, depth)
    pieces = (
        cuboid([-h, 0, 0], [h, t_bar, depth]),
        cuboid([-s, t_bar, 0], [s, top, depth]),
    )
    return _tip(Shape(v, f, pieces), rng.random() < 0.5)


def _tip(shape: Shape, tip: bool) -> Shape:
    """Turns the outline's y axis up when `tip`, so that the foot or bar lies on the table."""
    if not tip:
        return shape
    R = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    return Shape(shape.vertices @ R.T, shape.faces, tuple((v @ R.T, f) for v, f in shape.hulls))


def _rounded(rng: np.random.Generator, angle: F64) -> F64:
    """Superellipse outline (K, 2) with half-axes that fit the jaw, turned by a random angle."""
    a, b = rng.uniform(0.018, 0.033, 2)
    e = rng.uniform(0.3, 1.0)
    xy = np.stack([a * _power(np.cos(angle), e), b * _power(np.sin(angle), e)], axis=1)
    turn = rng.uniform(0.0, np.pi / 4)
    c, s = np.cos(turn), np.sin(turn)
    return xy @ np.array([[c, s], [-s, c]])


def _power(x: F64 | float, exponent: float) -> F64:
    return np.sign(x) * np.abs(x) ** exponent


def _hull_shape(points: F64) -> Shape:
    v, f = convex_hull(points)
    return Shape(v, f, ((v, f),))
