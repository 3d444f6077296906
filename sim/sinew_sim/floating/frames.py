"""Grasp poses from contacts."""

import numpy as np

from sinew_policies.common.geometry import HAND_DEPTH_M, T_HAND_FROM_GRASP, inverse
from sinew_policies.common.types import F64

T_GRASP_HAND: F64 = inverse(T_HAND_FROM_GRASP)


def grasp_poses(contact: F64, contact_dir: F64, approach_dir: F64, width_m: F64) -> F64:
    """Grasp frames (N, 4, 4) from contacts (N, 3), unit directions (N, 3) each and widths (N,).

    x = contact_dir, z = approach_dir made orthogonal to it; the origin lies HAND_DEPTH_M behind the middle
    of the contact line.
    """
    x = contact_dir
    z = approach_dir - np.sum(approach_dir * x, axis=1, keepdims=True) * x
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    T = np.zeros((len(x), 4, 4))
    T[:, :3, 0], T[:, :3, 1], T[:, :3, 2] = x, np.cross(z, x), z
    T[:, :3, 3] = contact + 0.5 * width_m[:, None] * x - HAND_DEPTH_M * z
    T[:, 3, 3] = 1.0
    return T


def hand_poses(T_base_grasp: F64) -> F64:
    """Poses (..., 4, 4) of `panda_hand`, which closes along y, for grasp frames that close along x."""
    return T_base_grasp @ T_GRASP_HAND


def orthogonal_unit(directions: F64, preferred: F64) -> F64:
    """The unit vectors (N, 3) orthogonal to `directions` (N, 3) that are nearest to `preferred` (N, 3).

    Where the two are parallel any orthogonal direction is as good; a fixed rule picks one.
    """
    out = preferred - np.sum(preferred * directions, axis=1, keepdims=True) * directions
    length = np.linalg.norm(out, axis=1)
    parallel = length < 1e-6
    if parallel.any():
        axis = np.eye(3)[np.argmin(np.abs(directions[parallel]), axis=1)]
        out[parallel] = np.cross(directions[parallel], axis)
        length[parallel] = np.linalg.norm(out[parallel], axis=1)
    return out / length[:, None]


def rotate_about(axis: F64, vectors: F64, angle_rad: F64) -> F64:
    """Rotates vectors (N, 3) that are orthogonal to unit axes (N, 3) by angles (N,)."""
    c, s = np.cos(angle_rad)[:, None], np.sin(angle_rad)[:, None]
    return c * vectors + s * np.cross(axis, vectors)
