"""Ranked grasps."""

import array

import numpy as np
from geometry_msgs.msg import Point
from sinew_interfaces.msg import Grasp as GraspMsg
from sinew_interfaces.msg import GraspArray
from std_msgs.msg import Header

from sinew_nodes.convert.poses import point_msg, pose_matrix, pose_msg
from sinew_nodes.convert.stamps import header_msg, stamp_ns
from sinew_policies.common.errors import DataError
from sinew_policies.common.types import Grasp, GraspSet


def grasp_array_msg(grasps: GraspSet) -> GraspArray:
    header = header_msg(grasps.frame_id, grasps.stamp_ns)
    return GraspArray(
        header=header,
        grasps=[grasp_msg(g, header) for g in grasps.grasps],
        objects=len(grasps.masks),
        stage_names=[name for name, _ in grasps.stage_ms],
        stage_ms=array.array("f", [ms for _, ms in grasps.stage_ms]),
    )


def grasp_msg(grasp: Grasp, header: Header) -> GraspMsg:
    return GraspMsg(
        header=header,
        pose=pose_msg(grasp.T_base_grasp),
        width=float(grasp.width_m),
        score=float(grasp.score),
        contact=point_msg(grasp.contact),
        object_id=grasp.object_id,
        rejection=grasp.rejection,
    )


def grasp_set(msg: GraspArray) -> GraspSet:
    """The grasps without masks and cloud, which do not travel in this message."""
    return GraspSet(
        grasps=tuple(_grasp(g, msg.header.frame_id) for g in msg.grasps),
        frame_id=msg.header.frame_id,
        stamp_ns=stamp_ns(msg.header.stamp),
        stage_ms=tuple(zip(msg.stage_names, (float(v) for v in msg.stage_ms), strict=True)),
    )


def _grasp(msg: GraspMsg, frame_id: str) -> Grasp:
    if msg.header.frame_id not in ("", frame_id):
        raise DataError(f"grasp is in frame '{msg.header.frame_id}' but its array in '{frame_id}'")
    return Grasp(
        T_base_grasp=pose_matrix(msg.pose),
        width_m=float(msg.width),
        score=float(msg.score),
        contact=_array(msg.contact),
        object_id=int(msg.object_id),
        rejection=msg.rejection,
    )


def _array(p: Point) -> np.ndarray:
    return np.array([p.x, p.y, p.z])
