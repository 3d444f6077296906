"""Rigid transforms as 4×4 float64 matrices, named by use: `T_base_cam` maps camera coordinates into base.

Quaternions are xyzw; MuJoCo's wxyz is converted once, in the simulator.
"""

import numpy as np
from numpy.typing import ArrayLike

from sinew_policies.common.types import F64

HAND_DEPTH_M = 0.1034
"""Distance from the Panda hand's flange origin to the fingertips' contact line, along the approach axis."""

T_HAND_FROM_GRASP: F64 = np.array(
    [[0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
"""Maps grasp-frame coordinates (x closing) into `panda_hand` coordinates (y closing).

T_base_hand = T_base_grasp @ inv(T_HAND_FROM_GRASP); both share origin and approach axis.
"""


def inverse(T: F64) -> F64:
    """Inverse of rigid transforms, shape (..., 4, 4)."""
    R = T[..., :3, :3]
    out = np.zeros_like(T)
    Rt = np.swapaxes(R, -1, -2)
    out[..., :3, :3] = Rt
    out[..., :3, 3] = -(Rt @ T[..., :3, 3:4])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def from_rt(R: ArrayLike, t: ArrayLike) -> F64:
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = t
    return T


def apply(T: F64, points: F64) -> F64:
    """Transforms points (N, 3) by T (4, 4)."""
    return points @ T[:3, :3].T + T[:3, 3]


def rot_x(angle_rad: float) -> F64:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rot_z(angle_rad: float) -> F64:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def quat_from_matrix(R: F64) -> F64:
    """Unit quaternion xyzw, w >= 0, of a rotation matrix (3, 3)."""
    m = R
    # Shepperd: pick the largest of the four squared components to stay away from cancellation.
    diag = np.array([m[0, 0], m[1, 1], m[2, 2]])
    trace = diag.sum()
    choice = int(np.argmax([*diag, trace]))
    q = np.empty(4)
    if choice == 3:
        q[3] = 1.0 + trace
        q[0], q[1], q[2] = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    else:
        i, j, k = choice, (choice + 1) % 3, (choice + 2) % 3
        q[i] = 1.0 + 2.0 * diag[i] - trace
        q[j] = m[j, i] + m[i, j]
        q[k] = m[k, i] + m[i, k]
        q[3] = m[k, j] - m[j, k]
    q /= np.linalg.norm(q)
    return q if q[3] >= 0 else -q


def matrix_from_quat(q_xyzw: ArrayLike) -> F64:
    """Rotation matrix (3, 3) of a quaternion xyzw of any non-zero length."""
    q = np.asarray(q_xyzw, dtype=np.float64)
    n = float(q @ q)
    if not np.isfinite(n) or n < 1e-12:
        raise ValueError(f"quaternion {q.tolist()} has no direction; expected a unit xyzw quaternion")
    x, y, z, w = q * np.sqrt(2.0 / n)
    return np.array(
        [
            [1.0 - (y * y + z * z), x * y - z * w, x * z + y * w],
            [x * y + z * w, 1.0 - (x * x + z * z), y * z - x * w],
            [x * z - y * w, y * z + x * w, 1.0 - (x * x + y * y)],
        ]
    )


def slerp(q0: F64, q1: F64, u: float) -> F64:
    """Shortest-arc interpolation of unit quaternions xyzw, u in [0, 1]."""
    d = float(q0 @ q1)
    if d < 0.0:
        q1, d = -q1, -d
    if d > 0.9995:
        q = q0 + u * (q1 - q0)
        return q / np.linalg.norm(q)
    a = np.arccos(d)
    return (np.sin((1 - u) * a) * q0 + np.sin(u * a) * q1) / np.sin(a)


def rotation_angle(R: F64) -> float:
    """Angle in radians of rotation matrices; (..., 3, 3) is reduced to its largest."""
    c = (np.trace(R, axis1=-2, axis2=-1) - 1.0) / 2.0
    return float(np.max(np.arccos(np.clip(c, -1.0, 1.0))))
