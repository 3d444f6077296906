"""The FollowJointTrajectory server: checks goals, hands them to the controller, reports how they end."""

from typing import TYPE_CHECKING

import numpy as np
from control_msgs.action import FollowJointTrajectory
from trajectory_msgs.msg import JointTrajectoryPoint

from sinew_hardware.interfaces import Arm
from sinew_nodes import convert, topics
from sinew_nodes.action_host import ActionHost, Ending, Running
from sinew_nodes.safety_desk import SafetyDesk
from sinew_nodes.trajectory.checks import check_limits, check_smooth, check_start
from sinew_nodes.trajectory.controller import Goal, Outcome, Tolerances, TrajectoryController
from sinew_nodes.trajectory.path import Motion
from sinew_policies.common.errors import SinewError, name_hint
from sinew_policies.common.types import F64

if TYPE_CHECKING:
    from sinew_nodes.arm_node import ArmConfig, ArmNode

_Result = FollowJointTrajectory.Result
STOPPED = -100
"""Own error code: the motion was ended from outside (latch, lease, client, newer goal); the arm holds."""

_CODES = {
    Outcome.DONE: _Result.SUCCESSFUL,
    Outcome.PATH_TOLERANCE: _Result.PATH_TOLERANCE_VIOLATED,
    Outcome.GOAL_TOLERANCE: _Result.GOAL_TOLERANCE_VIOLATED,
}


class _Refusal(SinewError):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FollowTrajectory:
    """One goal runs at a time; a newer valid one takes over, an invalid one changes nothing."""

    def __init__(
        self, node: "ArmNode", config: "ArmConfig", arm: Arm, controller: TrajectoryController, desk: SafetyDesk
    ) -> None:
        self._node, self._config, self._arm = node, config, arm
        self._controller, self._desk = controller, desk
        self._names = arm.joint_names
        self._goals: dict[int, Goal] = {}
        self._holder = ""
        self._clients: frozenset[str] = frozenset()
        self._host = ActionHost(
            node, FollowJointTrajectory, topics.FOLLOW_JOINT_TRAJECTORY, self._begin, self._cancel, self._refused
        )
        self._feedback_topic = node.resolve_topic_name(topics.FOLLOW_JOINT_TRAJECTORY + "/_action/feedback")
        node.timer(0.05, self._publish_feedback)
        node.timer(0.1, self._check_clients)

    def close(self) -> None:
        self._controller.drop("the arm node ends")
        self._host.destroy(_Result(error_code=STOPPED, error_string="the arm node ends"))

    @property
    def holder(self) -> str:
        """Under whose lease the running goal commands."""
        return self._holder

    def on_node_lost(self, name: str) -> None:
        """From the watching thread: stops when a client of this action dies while a goal runs."""
        if name in self._clients and self._controller.goal is not None:
            self._controller.drop(f"node '{name}', a client of this action, died; the arm holds")

    # -- a goal arrives --------------------------------------------------------------------------------------

    def _begin(self, running: Running) -> None:
        request: FollowJointTrajectory.Goal = running.request
        msg = request.trajectory
        if not self._node.is_active:
            raise _Refusal(_Result.INVALID_GOAL, "arm node is not active; activate it first")
        if set(msg.joint_names) != set(self._names) or len(msg.joint_names) != len(self._names):
            raise _Refusal(_Result.INVALID_JOINTS, self._joints_message(list(msg.joint_names)))
        if request.multi_dof_trajectory.points or request.component_path_tolerance:
            raise _Refusal(_Result.INVALID_GOAL, "multi-DOF trajectories are not supported; send joint positions")
        path = convert.joint_path(msg, self._names)
        if path.t_s[-1] > self._config.max_duration_s:  # checking it would hold up the control loop
            raise _Refusal(
                _Result.INVALID_GOAL,
                f"trajectory lasts {path.t_s[-1]:.1f} s; allowed {self._config.max_duration_s:.0f} s "
                "(max_duration_s); send it in parts",
            )
        delay_s = self._delay_s(convert.stamp_ns(msg.header.stamp), float(path.t_s[-1]))
        tolerances = self._tolerances(request)
        state = self._node.state
        if state is None:
            raise _Refusal(_Result.INVALID_GOAL, "the arm has not reported its state yet; try again")
        with self._controller.frozen():
            start = self._controller.reference(state.q)
            check_start(path, start, self._names, self._config.start_tolerance_rad)
            motion = Motion(path, start)
            check_limits(motion, path, self._arm.limits, self._names, self._arm.period_s)
            check_smooth(motion, start, self._arm.limits, self._names, self._arm.period_s)
            holder = self._desk.take_for_goal(msg.header.frame_id)
            goal = Goal(motion, tolerances, lambda outcome, why: self._on_end(running, goal, outcome, why), delay_s)
            self._goals[id(running)] = goal
            self._clients = self._client_nodes()
            self._holder = holder
            self._controller.submit(goal)

    def _joints_message(self, given: list[str]) -> str:
        missing = [n for n in self._names if n not in given]
        unknown = [n for n in given if n not in self._names]
        parts = [f"missing {missing}"] if missing else []
        parts += [f"unknown '{n}', {name_hint(n, self._names)}" for n in unknown]
        return "trajectory names the wrong joints: " + ("; ".join(parts) or f"{given} holds one twice")

    def _delay_s(self, stamp_ns: int, duration_s: float) -> float:
        """Seconds until the start that the header asks for; 0 = at once."""
        if stamp_ns == 0:
            return 0.0
        ahead_s = (stamp_ns - self._node.now_ns()) * 1e-9
        if ahead_s < -self._config.stale_stamp_s:
            raise _Refusal(
                _Result.OLD_HEADER_TIMESTAMP,
                f"trajectory was to start {-ahead_s:.2f} s ago (allowed {self._config.stale_stamp_s} s, it lasts "
                f"{duration_s:.2f} s); leave header.stamp zero to start on arrival, or check the clocks",
            )
        if ahead_s > self._config.max_duration_s:
            raise _Refusal(
                _Result.INVALID_GOAL,
                f"trajectory is to start in {ahead_s:.1f} s; allowed {self._config.max_duration_s:.0f} s ahead; "
                "leave header.stamp zero to start on arrival, or check the clocks",
            )
        return max(ahead_s, 0.0)

    def _tolerances(self, request: FollowJointTrajectory.Goal) -> Tolerances:
        config, n = self._config, len(self._names)
        path, goal = np.full(n, config.path_tolerance_rad), np.full(n, config.goal_tolerance_rad)
        path_speed, goal_speed = np.full(n, np.inf), np.full(n, np.inf)
        for given, position, velocity in (
            (request.path_tolerance, path, path_speed),
            (request.goal_tolerance, goal, goal_speed),
        ):
            for t in given:
                if t.name not in self._names:
                    raise _Refusal(
                        _Result.INVALID_GOAL, f"tolerance names joint '{t.name}'; {name_hint(t.name, self._names)}"
                    )
                i = self._names.index(t.name)
                _apply(position, i, t.position)
                _apply(velocity, i, t.velocity)
        time_s = convert.seconds_ns(request.goal_time_tolerance) * 1e-9
        return Tolerances(path, goal, path_speed, goal_speed, time_s if time_s > 0.0 else config.goal_time_s)

    # -- a goal runs and ends --------------------------------------------------------------------------------

    def _cancel(self, running: Running) -> None:
        goal = self._goals.get(id(running))
        if goal is not None:
            self._controller.cancel(goal)

    def _on_end(self, running: Running, goal: Goal, outcome: Outcome, why: str) -> None:
        self._goals.pop(id(running), None)
        if outcome is not Outcome.PREEMPTED:
            self._desk.release_after_goal()
        if outcome is Outcome.DONE:
            ending = Ending.SUCCEEDED
        else:
            ending = Ending.CANCELED if outcome is Outcome.CANCELED else Ending.ABORTED
            self._node.meters.count(outcome.name.lower())
            log = self._node.get_logger()
            (log.info if outcome is Outcome.CANCELED else log.warning)(f"trajectory ended: {why}")
        running.finish(ending, _Result(error_code=_CODES.get(outcome, STOPPED), error_string=why))

    def _refused(self, error: Exception) -> FollowJointTrajectory.Result:
        code = error.code if isinstance(error, _Refusal) else _Result.INVALID_GOAL
        message = str(error) if isinstance(error, SinewError) else f"{type(error).__name__}: {error}"
        self._node.meters.count("goals_refused")
        self._node.get_logger().error(f"trajectory refused: {message}")
        return _Result(error_code=code, error_string=message)

    def _publish_feedback(self) -> None:
        for running in self._host.running:
            goal = self._goals.get(id(running))
            progress = goal.progress if goal is not None else None
            if progress is None:
                continue
            desired = progress.desired
            feedback = FollowJointTrajectory.Feedback(joint_names=list(self._names))
            feedback.header.stamp = self._node.get_clock().now().to_msg()
            feedback.desired = _point(desired.q, desired.dq, progress.t_s)
            feedback.actual = _point(progress.actual_q, progress.actual_dq, progress.t_s)
            feedback.error = _point(desired.q - progress.actual_q, desired.dq - progress.actual_dq, progress.t_s)
            running.handle.publish_feedback(feedback)

    def _client_nodes(self) -> frozenset[str]:
        """Names of the nodes that listen to this action's feedback, as every action client does."""
        found = self._node.get_subscriptions_info_by_topic(self._feedback_topic)
        return frozenset(f"{i.node_namespace.rstrip('/')}/{i.node_name}".lstrip("/") for i in found)

    def _check_clients(self) -> None:
        if self._clients and self._controller.goal is not None and not self._client_nodes():
            self._controller.drop("the action's client is gone; the arm holds")


def _apply(values: F64, i: int, given: float) -> None:
    """A tolerance as the message defines it: 0 keeps the default, negative lifts it."""
    if given > 0.0:
        values[i] = given
    elif given < 0.0:
        values[i] = np.inf


def _point(q: F64, dq: F64, t_s: float) -> JointTrajectoryPoint:
    point = JointTrajectoryPoint(positions=q.tolist(), velocities=dq.tolist())
    point.time_from_start = convert.duration_msg(t_s)
    return point
