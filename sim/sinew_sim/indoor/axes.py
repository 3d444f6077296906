"""Habitat's axes (x right, y up, -z forward) and ours (REP-103: x forward, y left, z up)."""

import numpy as np
from numpy.typing import ArrayLike

from sinew_policies.common.types import F64

# ros = (-hab_z, -hab_x, hab_y); a rotation, so that the inverse is the transpose.
R_ROS_HABITAT: F64 = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
# An asset of HM3D is stored with z up and y to the front; Habitat turns it to y up and -z to the front.
R_HABITAT_ASSET: F64 = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def position_to_ros(habitat_m: ArrayLike) -> F64:
    """Points (..., 3) of Habitat in our axes."""
    return np.asarray(habitat_m, np.float64) @ R_ROS_HABITAT.T


def position_to_habitat(ros_m: ArrayLike) -> F64:
    """Points (..., 3) of ours in Habitat's axes."""
    return np.asarray(ros_m, np.float64) @ R_ROS_HABITAT


def quaternion_to_ros(habitat_xyzw: ArrayLike) -> F64:
    """Orientations (..., 4) xyzw of a body: the same turn about the same line, both seen in our axes.

    Habitat's agent looks along its own -z, ours along its own +x, so that the identity stays the identity and
    a yaw about Habitat's y becomes the same yaw about our z.
    """
    q = np.asarray(habitat_xyzw, np.float64)
    return np.concatenate([position_to_ros(q[..., :3]), q[..., 3:]], axis=-1)


def quaternion_to_habitat(ros_xyzw: ArrayLike) -> F64:
    """Inverse of `quaternion_to_ros`."""
    q = np.asarray(ros_xyzw, np.float64)
    return np.concatenate([position_to_habitat(q[..., :3]), q[..., 3:]], axis=-1)


def heading_rad(habitat_xyzw: ArrayLike) -> F64:
    """Yaw of Habitat orientations (..., 4) about the vertical, 0 looking along -z, positive to the left.

    Only the look direction projected to the floor counts; looking straight up or down gives 0.
    """
    x, y, z, w = np.moveaxis(np.asarray(habitat_xyzw, np.float64), -1, 0)
    look_x, look_z = -2.0 * (x * z + w * y), -(1.0 - 2.0 * (x * x + y * y))  # R @ (0, 0, -1)
    return np.arctan2(-look_x, -look_z)


def asset_to_habitat(asset_m: ArrayLike) -> F64:
    """Vertices (..., 3) of an HM3D mesh (z up) in Habitat's axes (y up)."""
    return np.asarray(asset_m, np.float64) @ R_HABITAT_ASSET.T
