"""Closed triangle meshes built from stacks of rings, and the solids made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from sinew_policies.common.types import F64, I32
from sinew_sim.objects.convex import Hull


@dataclass(frozen=True, eq=False)
class Shape:
    """A watertight surface and the convex pieces that fill it, metres, z up."""

    vertices: F64  # (V, 3)
    faces: I32  # (F, 3)
    hulls: tuple[Hull, ...]


def convex_shape(rings: Sequence[ArrayLike]) -> Shape:
    """Shape of one convex solid lofted through `rings`."""
    v, f = loft(rings)
    return Shape(v, f, ((v, f),))


def loft(rings: Sequence[ArrayLike]) -> tuple[F64, I32]:
    """Closed mesh through rings (K, 3) of equal length, counter-clockwise seen from the end of the stack.

    The first and last ring are capped with a fan about their mean, so they must be star-shaped about it.
    """
    stack = np.stack([np.asarray(r, np.float64) for r in rings])  # (R, K, 3)
    count, k, _ = stack.shape
    i = np.arange(k)
    j = (i + 1) % k
    faces: list[F64 | I32] = []
    for r in range(count - 1):
        a, b = r * k, (r + 1) * k
        faces.append(np.stack([a + i, a + j, b + j], axis=1))
        faces.append(np.stack([a + i, b + j, b + i], axis=1))
    start, end = count * k, count * k + 1
    last = (count - 1) * k
    faces.append(np.stack([np.full(k, start), j, i], axis=1))
    faces.append(np.stack([np.full(k, end), last + i, last + j], axis=1))
    vertices = np.concatenate([stack.reshape(-1, 3), stack[0].mean(0)[None], stack[-1].mean(0)[None]])
    return vertices, np.concatenate(faces).astype(np.int32)


def circle(radius_m: float, z_m: float, sides: int) -> F64:
    """Ring (sides, 3) at height z, counter-clockwise from above."""
    a = 2.0 * np.pi * np.arange(sides) / sides
    return np.stack([radius_m * np.cos(a), radius_m * np.sin(a), np.full(sides, z_m)], axis=1)


def polygon(xy: ArrayLike, z_m: float) -> F64:
    """Ring (K, 3) at height z from a planar outline (K, 2)."""
    flat = np.asarray(xy, np.float64)
    return np.column_stack([flat, np.full(len(flat), z_m)])


def rectangle(width_m: float, depth_m: float, chamfer_m: float = 0.0) -> F64:
    """Outline (4 or 8, 2) centred on the origin, counter-clockwise."""
    x, y, c = width_m / 2, depth_m / 2, chamfer_m
    if c <= 0.0:
        return np.array([[x, -y], [x, y], [-x, y], [-x, -y]])
    return np.array(
        [
            [x, -y + c], [x, y - c], [x - c, y], [-x + c, y],
            [-x, y - c], [-x, -y + c], [-x + c, -y], [x - c, -y],
        ]
    )  # fmt: skip


def cuboid(low: ArrayLike, high: ArrayLike) -> tuple[F64, I32]:
    """Axis-aligned box between two corners (3,)."""
    a, b = np.asarray(low, np.float64), np.asarray(high, np.float64)
    outline = np.array([[b[0], a[1]], [b[0], b[1]], [a[0], b[1]], [a[0], a[1]]])
    return loft([polygon(outline, a[2]), polygon(outline, b[2])])


def extrude(outline: ArrayLike, triangles: ArrayLike, height_m: float) -> tuple[F64, I32]:
    """Prism over a counter-clockwise outline (K, 2) whose caps are triangulated by `triangles` (t, 3)."""
    bottom = polygon(outline, 0.0)
    k = len(bottom)
    i = np.arange(k)
    j = (i + 1) % k
    cap = np.asarray(triangles)
    sides = np.concatenate([np.stack([i, j, k + j], axis=1), np.stack([i, k + j, k + i], axis=1)])
    faces = np.concatenate([sides, cap[:, ::-1], cap + k]).astype(np.int32)
    return np.concatenate([bottom, polygon(outline, height_m)]), faces


def sweep(path: ArrayLike, outline: ArrayLike, binormal: ArrayLike) -> tuple[F64, I32, tuple[Hull, ...]]:
    """Moves a convex outline (K, 2) along a planar path (P, 3); one convex piece per path segment.

    The outline's first axis lies in the path's plane, its second along `binormal` (3,), the plane's unit
    normal. Joints are mitred, so that neighbouring pieces share a face.
    """
    points, section = np.asarray(path, np.float64), np.asarray(outline, np.float64)
    b = np.asarray(binormal, np.float64)
    along = np.diff(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    before, after = np.vstack([along[:1], along]), np.vstack([along, along[-1:]])
    tangent = before + after
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    stretch = 1.0 / np.einsum("pi,pi->p", tangent, after)
    rings = []
    for p, t, s in zip(points, tangent, stretch, strict=True):
        # (side, b, t) is right-handed, so a counter-clockwise outline stays so seen from the path's end.
        side = np.cross(b, t)
        rings.append(p + s * section[:, :1] * side + section[:, 1:] * b)
    v, f = loft(rings)
    return v, f, tuple(loft(pair) for pair in pairwise(rings))
