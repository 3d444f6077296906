"""Rigid transforms: 4×4 float64 in our code; quaternions xyzw on the wire."""

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, TransformStamped, Vector3

from sinew_nodes.convert.stamps import header_msg
from sinew_policies.common import geometry
from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64


def pose_msg(T: F64) -> Pose:
    return Pose(position=point_msg(T[:3, 3]), orientation=_quaternion_msg(T[:3, :3]))


def pose_matrix(msg: Pose) -> F64:
    """Raises DataError when the pose is not finite or its quaternion has no direction."""
    p, q = msg.position, msg.orientation
    return _matrix((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def transform_msg(T_parent_child: F64, parent: str, child: str, t_ns: int) -> TransformStamped:
    t = T_parent_child[:3, 3]
    return TransformStamped(
        header=header_msg(parent, t_ns),
        child_frame_id=child,
        transform=Transform(
            translation=Vector3(x=float(t[0]), y=float(t[1]), z=float(t[2])),
            rotation=_quaternion_msg(T_parent_child[:3, :3]),
        ),
    )


def transform_matrix(msg: Transform) -> F64:
    t, q = msg.translation, msg.rotation
    return _matrix((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))


def point_msg(p: F64) -> Point:
    return Point(x=float(p[0]), y=float(p[1]), z=float(p[2]))


def _quaternion_msg(R: F64) -> Quaternion:
    x, y, z, w = geometry.quat_from_matrix(R).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def _matrix(t: tuple[float, ...], q_xyzw: tuple[float, ...]) -> F64:
    if not np.isfinite([*t, *q_xyzw]).all():
        raise DataError(f"pose has the position {t} and the quaternion {q_xyzw}; expected finite numbers")
    try:
        return geometry.from_rt(geometry.matrix_from_quat(q_xyzw), t)
    except ValueError as error:
        raise DataError(str(error)) from error
