"""Normals and clusters of small clouds, for the baselines."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from sinew_policies.common.types import F64

_NEIGHBOURS = 24
_LINK_M = 0.008
_VOXEL_M = 0.003
_SMALLEST = 30  # points of a cluster worth grasping


def estimate_normals(xyz: F64, at: NDArray[np.integer], *, towards: F64) -> F64:
    """Unit normals (K, 3) at points `at` of xyz (N, 3), pointing to the half space of `towards` (3,)."""
    _, near = cKDTree(xyz).query(xyz[at], k=min(_NEIGHBOURS, len(xyz)))
    patch = xyz[near] - xyz[near].mean(axis=1, keepdims=True)
    _, _, vt = np.linalg.svd(patch, full_matrices=False)
    normals: F64 = vt[:, 2]
    flip = np.einsum("ij,ij->i", normals, towards - xyz[at]) < 0.0
    normals[flip] *= -1.0
    return normals


def clusters(xyz: F64) -> list[F64]:
    """Connected groups of the points (N, 3), highest first; points within 8 mm belong together."""
    if len(xyz) == 0:
        return []
    cell = np.floor(xyz / _VOXEL_M).astype(np.int64)
    _, first = np.unique(cell, axis=0, return_index=True)
    points = xyz[np.sort(first)]
    pairs = cKDTree(points).query_pairs(_LINK_M, output_type="ndarray")
    n = len(points)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    groups = [points[label == k] for k in range(int(label.max()) + 1)]
    groups = [g for g in groups if len(g) >= _SMALLEST]
    return sorted(groups, key=lambda g: -float(g[:, 2].max()))
