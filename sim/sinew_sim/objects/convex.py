"""Convex hull with outward triangles."""

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from sinew_policies.common.errors import MeshError
from sinew_policies.common.types import F64, I32

Hull = tuple[F64, I32]
"""Vertices (v, 3) in metres and outward triangles (f, 3) of one convex piece."""


def convex_hull(points: F64) -> Hull:
    """Hull of points (N, 3): its corners only, triangles outward. MeshError when they span no volume."""
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError) as e:
        raise MeshError(f"{len(points)} points span no volume; expected a solid body, not a sheet or a line") from e
    triangles = hull.simplices
    corners = points[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flip = np.einsum("fi,fi->f", normal, hull.equations[:, :3]) < 0.0
    triangles[flip] = triangles[flip][:, ::-1]
    index = np.full(len(points), -1)
    index[hull.vertices] = np.arange(len(hull.vertices))
    return points[hull.vertices], index[triangles].astype(np.int32)
