"""Messages to value types and back: the only place where either side knows of the other.

Arrays travel as `array.array`, the one type that message setters and the serialiser take at full speed;
reading is zero-copy. Everything from outside is checked, and a fault is a `DataError` that says what was wrong.
"""

from sinew_nodes.convert.clouds import cloud, cloud_msg
from sinew_nodes.convert.grasps import grasp_array_msg, grasp_msg, grasp_set
from sinew_nodes.convert.images import (
    camera_frame,
    camera_info_msg,
    camera_model,
    depth_image_msg,
    depth_m,
    rgb,
    rgb_image_msg,
)
from sinew_nodes.convert.motion import joint_path, joint_state_msg, positions_by_name, trajectory_msg
from sinew_nodes.convert.poses import pose_matrix, pose_msg, transform_matrix, transform_msg
from sinew_nodes.convert.stamps import duration_msg, header_msg, seconds_ns, stamp_msg, stamp_ns

__all__ = [
    "camera_frame",
    "camera_info_msg",
    "camera_model",
    "cloud",
    "cloud_msg",
    "depth_image_msg",
    "depth_m",
    "duration_msg",
    "grasp_array_msg",
    "grasp_msg",
    "grasp_set",
    "header_msg",
    "joint_path",
    "joint_state_msg",
    "pose_matrix",
    "pose_msg",
    "positions_by_name",
    "rgb",
    "rgb_image_msg",
    "seconds_ns",
    "stamp_msg",
    "stamp_ns",
    "trajectory_msg",
    "transform_matrix",
    "transform_msg",
]
