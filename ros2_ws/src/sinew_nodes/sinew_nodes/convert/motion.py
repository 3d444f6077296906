"""Joint states and trajectories; joints are matched by name, never by place."""

import array
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sinew_nodes.convert.stamps import duration_msg, header_msg, seconds_ns
from sinew_nodes.trajectory.path import JointPath
from sinew_policies.common.errors import DataError
from sinew_policies.common.types import F64, Trajectory


def joint_state_msg(
    names: Sequence[str], q: F64, dq: F64 | None, tau: F64 | None, t_ns: int, frame_id: str = ""
) -> JointState:
    """`q`, `dq`, `tau` (J,) each; what is None stays empty on the wire."""
    msg = JointState(header=header_msg(frame_id, t_ns), name=list(names))
    msg.position = array.array("d", q)
    if dq is not None:
        msg.velocity = array.array("d", dq)
    if tau is not None:
        msg.effort = array.array("d", tau)
    return msg


def positions_by_name(msg: JointState) -> dict[str, float]:
    if len(msg.name) != len(msg.position):
        raise DataError(
            f"joint state names {len(msg.name)} joints but has {len(msg.position)} positions; "
            "expected one position for each name"
        )
    return dict(zip(msg.name, msg.position, strict=True))


def trajectory_msg(trajectory: Trajectory, names: Sequence[str], stamp: int = 0) -> JointTrajectory:
    """`stamp` in ns of ROS time; 0 starts on arrival."""
    points = [
        JointTrajectoryPoint(
            positions=array.array("d", q),
            velocities=array.array("d", dq),
            accelerations=array.array("d", ddq),
            time_from_start=duration_msg(float(t)),
        )
        for t, q, dq, ddq in zip(trajectory.t_s, trajectory.q, trajectory.dq, trajectory.ddq, strict=True)
    ]
    return JointTrajectory(header=header_msg("", stamp), joint_names=list(names), points=points)


def joint_path(msg: JointTrajectory, names: Sequence[str]) -> JointPath:
    """The trajectory in the order of `names`. Raises DataError for lengths, NaN or times that do not fit.

    The joint set must be the same; checking it is the caller's business (it has its own error code).
    """
    if not msg.points:
        raise DataError("trajectory has no points; expected at least one")
    order = [msg.joint_names.index(n) for n in names]
    t_s = np.array([seconds_ns(p.time_from_start) for p in msg.points]) * 1e-9
    q = _rows(msg, "positions", order)
    if q is None:
        raise DataError("trajectory points have no positions; position control needs them")
    dq, ddq = _rows(msg, "velocities", order), _rows(msg, "accelerations", order)
    if t_s[0] < 0.0 or np.any(np.diff(t_s) <= 0.0):
        bad = 0 if t_s[0] < 0.0 else int(np.argmax(np.diff(t_s) <= 0.0)) + 1
        raise DataError(
            f"trajectory point {bad} has time_from_start {t_s[bad]:.4f} s; times must be >= 0 and increase"
        )
    return JointPath(t_s, q, dq, ddq if dq is not None else None)


def _rows(msg: JointTrajectory, what: str, order: list[int]) -> F64 | None:
    """(T, J) in our order, None where every point leaves the field empty."""
    rows = [getattr(p, what) for p in msg.points]
    lengths = {len(r) for r in rows}
    if lengths == {0}:
        return None
    joints = len(order)
    if lengths != {joints}:
        bad = next(i for i, r in enumerate(rows) if len(r) != joints)
        raise DataError(
            f"trajectory point {bad} has {len(rows[bad])} {what} for {joints} joints; every point needs as many"
        )
    values = np.array(rows, dtype=np.float64)[:, order]
    if not np.isfinite(values).all():
        point, joint = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"trajectory point {point} has {what[:-1] if what != 'velocities' else 'velocity'} "
            f"{values[point, joint]} for joint '{msg.joint_names[order[joint]]}'; expected finite numbers"
        )
    return values
