"""Arithmetic of relative object poses: nine numbers per pair, their standardisation, decoding and errors.

A pose is [x y z qx qy qz qw] of an object in the frame of the sensor, millimetres. The label of a pair (a, b) is
the motion inverse(T_a) T_b written as nine numbers: translation in mm, first and second column of the rotation
("6D rotation").
"""

from dataclasses import dataclass

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64

_MIN_STD = 1e-6


@dataclass(frozen=True)
class LabelNorm:
    """Mean and standard deviation per label dimension, of one data set."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean:
            raise DataError(
                f"label_norm has {len(self.mean)} means and {len(self.std)} standard deviations; expected as many "
                "of each, 9 for 6D poses and 3 for 3D poses"
            )
        if not np.isfinite([*self.mean, *self.std]).all() or min(self.std) <= 0.0:
            raise DataError(
                f"label_norm has mean {self.mean} and std {self.std}; expected finite numbers and std over 0"
            )

    @staticmethod
    def identity(dimensions: int) -> "LabelNorm":
        return LabelNorm((0.0,) * dimensions, (1.0,) * dimensions)

    @staticmethod
    def of(labels: F64) -> "LabelNorm":
        """Statistics of labels (N, D) over N; a dimension that never changes keeps its scale."""
        std = labels.std(0)
        std = np.where(std < _MIN_STD, 1.0, std)
        return LabelNorm(tuple(map(float, labels.mean(0))), tuple(map(float, std)))

    def normalise(self, labels: F64) -> F64:
        return (labels - np.array(self.mean)) / np.array(self.std)

    def restore(self, normalised: F64) -> F64:
        return normalised * np.array(self.std) + np.array(self.mean)


def delta_d9(pose_a: F64, pose_b: F64) -> F64:
    """Motion from a to b, seen from a: (N, 9) from poses (N, 7)."""
    R_a, R_b = rotations(pose_a[:, 3:]), rotations(pose_b[:, 3:])
    to_a = R_a.transpose(0, 2, 1)
    t = np.einsum("nij,nj->ni", to_a, pose_b[:, :3] - pose_a[:, :3])
    R = to_a @ R_b
    return np.concatenate([t, R[:, :, 0], R[:, :, 1]], axis=1)


def matrices(d9: F64) -> F64:
    """Rigid motions (N, 4, 4) from nine numbers each, by Gram-Schmidt; translation stays in mm."""
    T = np.zeros((len(d9), 4, 4))
    T[:, :3, :3] = rotation_from_columns(d9[:, 3:])
    T[:, :3, 3] = d9[:, :3]
    T[:, 3, 3] = 1.0
    return T


def rotation_from_columns(d6: F64) -> F64:
    """Rotations (N, 3, 3) from the continuous 6D representation (N, 6) of Zhou et al. (arXiv 1812.07035): their
    first two columns, made orthonormal by Gram-Schmidt.
    """
    first, second = d6[:, :3], d6[:, 3:]
    b1 = _unit(first)
    b2 = _unit(second - np.sum(b1 * second, axis=1, keepdims=True) * b1)
    return np.stack([b1, b2, np.cross(b1, b2)], axis=2)


def rotations(quat_xyzw: F64) -> F64:
    """(N, 3, 3) from quaternions (N, 4) of any length but zero."""
    x, y, z, w = _unit(quat_xyzw).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def rotation_angles_deg(R: F64) -> F64:
    """(N,) angle of each rotation (N, 3, 3), 0..180, accurate near both ends."""
    sine = np.linalg.norm(
        np.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]]), axis=0
    )
    return np.degrees(np.arctan2(sine, np.trace(R, axis1=1, axis2=2) - 1.0))


def rotation_vectors_deg(R: F64) -> F64:
    """(N, 3) axis times angle in degrees; for rotations below 180 degrees."""
    axis = np.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], axis=1)
    sine = np.linalg.norm(axis, axis=1)
    factor = np.where(sine > 0.0, rotation_angles_deg(R) / np.maximum(sine, 1e-300), np.degrees(0.5))
    return axis * factor[:, None]


def distances(a: F64, b: F64) -> F64:
    """(N,) between points (N, D)."""
    return np.linalg.norm(a - b, axis=1)


def angles_between_deg(a: F64, b: F64) -> F64:
    """(N,) between the rotations of nine-number labels (N, 9)."""
    return rotation_angles_deg(rotation_from_columns(a[:, 3:]).transpose(0, 2, 1) @ rotation_from_columns(b[:, 3:]))


def _unit(v: F64) -> F64:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return v / np.maximum(length, 1e-12)
