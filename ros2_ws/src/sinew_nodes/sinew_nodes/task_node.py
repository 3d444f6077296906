"""The task: clears the table, or picks one object, through the same actions that real devices serve."""

import rclpy  # must be the first import that loads native libraries  # isort: skip

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as PathMsg
from rclpy.action.server import ActionServer, CancelResponse, GoalResponse, ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from sinew_interfaces.action import ClearTable as ClearTableAction
from sinew_interfaces.action import Pick as PickAction
from sinew_interfaces.msg import TaskStatus

from sinew_hardware.models.panda import FINGER_JOINT_NAMES, JOINT_NAMES
from sinew_hardware.planning.pick import PickMotions, PickPlan
from sinew_hardware.planning.plan import Planner, PlannerSettings
from sinew_nodes import convert, qos, topics
from sinew_nodes.base import SinewNode
from sinew_nodes.meters import Reading
from sinew_nodes.node_watch import NodeWatch
from sinew_nodes.params import parameter
from sinew_nodes.spin import run
from sinew_nodes.task.clear_table import ClearTable, ClearTableConfig
from sinew_nodes.task.clients import ArmClient, HandClient, JointWatcher, PerceptionClient
from sinew_nodes.task.ports import Cancelled
from sinew_nodes.task.progress import Outcome, Progress, Report, Stage
from sinew_nodes.task.waiting import Interrupt, wait_until
from sinew_policies.common.errors import SinewError
from sinew_policies.common.types import F64, Grasp, PointCloud, Trajectory

_Result: TypeAlias = ClearTableAction.Result
_Work: TypeAlias = Callable[[ServerGoalHandle, ClearTable], Any]
_CODES = {"choose": _Result.NO_GRASP, "plan": _Result.NO_PLAN, "perceive": _Result.PERCEPTION_FAILED}


@dataclass(frozen=True)
class TaskConfig:
    max_failures: int = parameter(5, "attempts in a row without success before giving up", low=1, high=100)
    grip_force_n: float = parameter(30.0, "force per finger", low=5.0, high=70.0)
    grip_speed_mps: float = parameter(0.15, "speed of the fingers", low=0.01, high=0.3)
    speed: float = parameter(0.6, "fraction of the arm's limits in free motion", low=0.05, high=1.0)
    line_speed: float = parameter(0.3, "fraction of the arm's limits near objects", low=0.05, high=1.0)
    look_timeout_s: float = parameter(5.0, "longest wait for grasps", low=0.5, high=60.0)
    respawn_timeout_s: float = parameter(60.0, "longest wait for a node that died", low=0.0, high=600.0)
    watched: tuple[str, ...] = parameter(
        ("grasp_node", "scene_camera_node", "view_node"), "nodes whose death stops the motion until they are back"
    )
    seed: int = parameter(0, "seed of the planner", low=0, high=2**31 - 1)


class TaskNode(SinewNode[TaskConfig]):
    config_type = TaskConfig

    def __init__(self) -> None:
        super().__init__("task_node")
        self._running = threading.Lock()
        self._interrupt: Interrupt | None = None
        self._worker: threading.Thread | None = None
        self._watch: NodeWatch | None = None
        self._last = Progress(Stage.RETURN, 0, 0, 0, "no task yet")

    def build(self, config: TaskConfig) -> None:
        settings = PlannerSettings(speed=config.speed, line_speed=config.line_speed)
        self._motions = PickMotions(Planner(seed=config.seed, settings=settings))
        self._status = self.publisher(TaskStatus, topics.TASK_STATUS, qos.LATCHED)
        self._plan = self.publisher(PathMsg, topics.TASK_PLAN, qos.LATCHED)
        self._joints = JointWatcher(self, (*JOINT_NAMES, *FINGER_JOINT_NAMES))
        self._arm = ArmClient(self, self._joints, JOINT_NAMES)
        self._hand = HandClient(self, self._joints, force_n=config.grip_force_n, speed_mps=config.grip_speed_mps)
        self._eyes = PerceptionClient(self, timeout_s=config.look_timeout_s)
        for client in (self._joints, self._arm, self._hand, self._eyes):
            self.on_clear(client.destroy)
        watch = NodeWatch(self, self._on_node_lost)
        self._watch = watch
        self.on_clear(watch.close)
        self._serve(ClearTableAction, topics.TASK_CLEAR_TABLE, self._clear_table)
        self._serve(PickAction, topics.TASK_PICK, self._pick)

    def stop(self) -> None:
        if self._interrupt is not None:
            self._interrupt.cancel()
        if self._worker is not None:
            self._worker.join(timeout=3.0)

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        lost = self._watch.lost() if self._watch is not None else ()
        warning = f"waiting for {', '.join(lost)}" if lost else ""
        return warning, {"stage": self._last.stage.value, "removed": str(self._last.removed)}

    # -- action servers --------------------------------------------------------------------------------------

    def _serve(self, action: Any, name: str, work: _Work) -> None:
        async def execute(handle: ServerGoalHandle) -> Any:  # rclpy awaits only what is declared async
            return await self._execute(handle, action, work)

        server: Any = ActionServer(
            self,
            action,
            name,
            execute_callback=execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
            callback_group=ReentrantCallbackGroup(),  # a running goal occupies its group
        )
        self.on_clear(server.destroy)

    def _on_goal(self, goal: object) -> GoalResponse:
        if not self.is_active:
            self.get_logger().error("goal refused: task_node is not active; activate it first")
            return GoalResponse.REJECT
        if self._running.locked():
            self.get_logger().error("goal refused: another task is running; cancel it first")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        if self._interrupt is not None:
            self._interrupt.cancel()
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle, action: Any, work: _Work) -> Any:
        """Runs the sequence in a worker thread; this coroutine only waits, so the executor goes on spinning."""
        if not self._running.acquire(blocking=False):
            handle.abort()
            return _refused(action, _Result.BAD_GOAL, "another task is running; cancel it first")
        done: Future = Future(executor=self.executor)
        interrupt = Interrupt()
        self._interrupt = interrupt

        def body() -> None:
            try:
                done.set_result(self._run(handle, action, interrupt, work))
            except Exception as error:  # a goal must always end
                self.get_logger().error(f"task failed: {type(error).__name__}: {error}")
                handle.abort()
                done.set_result(_refused(action, _Result.MOTION_FAILED, f"{type(error).__name__}: {error}"))

            if self.executor is not None:
                self.executor.wake()

        self._worker = threading.Thread(target=body, name="task", daemon=True)
        self._worker.start()
        try:
            return await done
        finally:
            self._interrupt = None
            self._running.release()

    def _run(self, handle: ServerGoalHandle, action: Any, interrupt: Interrupt, work: _Work) -> Any:
        for client in (self._arm, self._hand, self._eyes):
            client.interrupt = interrupt
        failures = getattr(handle.request, "max_consecutive_failures", 0) or self.config.max_failures
        sequence = ClearTable(
            self._eyes,
            self,
            self._arm,
            self._hand,
            self,
            ClearTableConfig(max_failures=failures, respawn_timeout_s=self.config.respawn_timeout_s),
            lambda progress: self._on_progress(handle, action, progress),
        )
        try:
            return work(handle, sequence)
        except Cancelled:
            if handle.is_cancel_requested:
                handle.canceled()
            else:
                handle.abort()
            return _refused(action, _Result.CANCELED, "cancelled; the arm holds where it is")
        finally:
            self._show(())

    def _clear_table(self, handle: ServerGoalHandle, sequence: ClearTable) -> ClearTableAction.Result:
        started = self.now_ns()
        report = sequence.run(handle.request.max_objects)
        code = _code(report)
        result = _Result(
            error_code=code,
            error_msg="" if code == _Result.SUCCESS else report.message,
            attempted=len(report.attempts),
            removed=report.removed,
            failed=len(report.attempts) - report.removed,
            seconds=(self.now_ns() - started) / 1e9,
        )
        _finish(handle, code)
        return result

    def _pick(self, handle: ServerGoalHandle, sequence: ClearTable) -> PickAction.Result:
        report, plan = sequence.pick(handle.request.max_attempts)
        code = _Result.SUCCESS if plan is not None else (_code(report) or _Result.NO_GRASP)
        result = PickAction.Result(
            error_code=code,
            error_msg="" if plan is not None else report.message,
            attempted=len(report.attempts),
            held_width=float(self._hand.width_m()),
        )
        if plan is not None:
            result.grasp = convert.grasp_msg(plan.grasp, convert.header_msg("base_link", self.now_ns()))
        _finish(handle, code)
        return result

    # -- ports of the sequence that need the node ------------------------------------------------------------

    def plan_pick(self, q: F64, grasp: Grasp, cloud: PointCloud) -> PickPlan:
        with self.meters.stage("plan"):
            plan = self._motions.plan_pick(q, grasp, cloud)
        self._show((plan.reach, plan.approach, plan.lift))
        return plan

    def cut_short(self, plan: PickPlan, q: F64) -> PickPlan:
        return self._motions.cut_short(plan, q)

    def to_bin(self, q: F64, drop_index: int) -> Trajectory:
        trajectory = self._motions.to_bin(q, drop_index)
        self._show((trajectory,))
        return trajectory

    def to_observe(self, q: F64) -> Trajectory:
        return self._motions.to_observe(q)

    def wait_until_back(self, node: str, timeout_s: float) -> bool:
        assert self._interrupt is not None
        assert self._watch is not None
        watch = self._watch
        self._interrupt.forget_loss()
        try:
            # A respawned process is of no use before it is active, and DDS still shows the dead one's service.
            wait_until(lambda: watch.is_active(node), timeout_s, f"node {node} to be active", self._interrupt)
        except SinewError as error:
            if isinstance(error, Cancelled):
                raise
            self.problem("lost", f"node {node} did not come back within {timeout_s:.0f} s")
            return False
        self.problem("lost", "")
        return True

    def _on_node_lost(self, name: str) -> None:
        """From the watching thread, within milliseconds of a process's death."""
        short = name.split("/")[-1]
        if short not in self.config.watched:
            return
        self.problem("lost", f"node {name} is gone; the arm holds until it is respawned")
        if self._interrupt is not None:
            self._interrupt.lose(name)

    def _on_progress(self, handle: ServerGoalHandle, action: Any, progress: Progress) -> None:
        self._last = progress
        self.get_logger().info(
            f"{progress.stage.value}: {progress.removed} removed, {progress.failed} failed"
            + (f"; {progress.detail}" if progress.detail else "")
        )
        feedback, status = action.Feedback(), TaskStatus()
        for message in (feedback, status):
            message.stage = progress.stage.value
            message.attempted, message.removed = progress.attempted, progress.removed
            message.failed = progress.failed
            if hasattr(message, "detail"):
                message.detail = progress.detail
        status.header = convert.header_msg("base_link", self.now_ns())
        self._status.publish(status)
        if handle.is_active:
            handle.publish_feedback(feedback)

    def _show(self, trajectories: tuple[Trajectory, ...]) -> None:
        """Publishes the fingertips' planned path; nothing clears it."""
        header = convert.header_msg("base_link", self.now_ns())
        path = PathMsg(header=header)
        for trajectory in trajectories:
            for x, y, z in self._motions.path_of(trajectory):
                pose = PoseStamped(header=header)
                pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = float(x), float(y), float(z)
                pose.pose.orientation.w = 1.0
                path.poses.append(pose)
        self._plan.publish(path)


def _refused(action: Any, code: int, message: str) -> Any:
    return action.Result(error_code=code, error_msg=message)


def _code(report: Report) -> int:
    if report.outcome is Outcome.EMPTY:
        return int(_Result.SUCCESS)
    if report.outcome is Outcome.NODE_LOST:
        return int(_Result.NODE_LOST)
    last = report.attempts[-1].stage.value if report.attempts else "choose"
    return int(_CODES.get(last, _Result.GRASP_FAILED))


def _finish(handle: ServerGoalHandle, code: int) -> None:
    if code == _Result.SUCCESS:
        handle.succeed()
    else:
        handle.abort()


def main() -> None:
    assert rclpy is not None
    sys.exit(run(lambda: [TaskNode()]))
