"""How an object stands: its resting facets, and the rotation that puts it on the best one."""

import numpy as np
from scipy.spatial import ConvexHull

from sinew_policies.common.types import F64

_ON_PLANE_M = 5e-4
_SAME_FACET = 0.9998  # cosine between normals of triangles that count as one facet
_STEADY_RAD = np.deg2rad(8.0)
_ALREADY_DOWN = np.cos(np.deg2rad(5.0))


def standing_angle_rad(points: F64) -> float:
    """How far an object, points (N, 3) about its centre of mass, can tilt from standing before it falls.

    0 when it stands on an edge, on a point or outside its own footprint.
    """
    low = points[points[:, 2] < points[:, 2].min() + _ON_PLANE_M]
    return _tilt(low[:, :2], -float(points[:, 2].min()))


def upright(points: F64) -> F64:
    """Rotation (3, 3) that lets an object, points (N, 3) about its centre of mass, stand on the table.

    An object that already stands steadily keeps its z axis; otherwise its steadiest facet goes down.
    """
    hull = ConvexHull(points)
    corners = points[hull.vertices]
    best, down = -1.0, np.array([0.0, 0.0, -1.0])
    for normal in _facets(hull.equations):
        R = _turn(normal)
        angle = standing_angle_rad(corners @ R.T)
        if angle > _STEADY_RAD and -normal[2] > _ALREADY_DOWN:
            return R
        if angle > best:
            best, down = angle, normal
    return _turn(down)


def _facets(equations: F64) -> list[F64]:
    """Distinct outward normals (3,)."""
    found: list[F64] = []
    for normal in equations[np.argsort(equations[:, 2]), :3]:
        if all(float(normal @ other) < _SAME_FACET for other in found):
            found.append(normal)
    return found


def _turn(normal: F64) -> F64:
    """The shortest rotation that takes `normal` (3,) to -z."""
    target = np.array([0.0, 0.0, -1.0])
    axis, c = np.cross(normal, target), float(normal @ target)
    if c < -1.0 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    K = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    return np.eye(3) + K + K @ K / (1.0 + c)


def _tilt(xy: F64, height_m: float) -> float:
    """Angle between the vertical and the way from the centre of mass to the nearest edge of the support."""
    if len(xy) < 3 or np.linalg.matrix_rank(xy - xy[0], tol=1e-5) < 2:
        return 0.0
    margin = -float(ConvexHull(xy).equations[:, 2].max())
    return float(np.arctan2(margin, height_m)) if margin > 0.0 else 0.0
