"""The real pick launch file: clears objects with the shipped weights, and outlasts the death of its nodes."""

import os
import signal
import time
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from ros_fakes.launched import Launch
from sensor_msgs.msg import JointState
from sinew_interfaces.action import ClearTable
from sinew_interfaces.msg import ObjectCount, TaskStatus

from sinew_hardware.models.panda import JOINT_NAMES
from sinew_nodes import qos, topics
from sinew_sim.cell.mirror import WorldMirror

pytestmark = pytest.mark.ros
HOLD_S = 0.3
STILL_RAD = 0.02
RESTING_RAD_S = 0.02


class Cell:
    """A running pick launch seen from outside."""

    def __init__(self, graph: Any, launch: Launch) -> None:
        self.graph, self.launch = graph, launch
        self.states: list[tuple[float, JointState]] = []
        graph.client.create_subscription(
            JointState, topics.JOINT_STATES, lambda m: self.states.append((time.monotonic(), m)), qos.JOINT_STATES
        )
        self.counts = graph.listen(ObjectCount, topics.OBJECT_COUNT, qos.LATCHED)
        self.statuses = graph.listen(TaskStatus, topics.TASK_STATUS, qos.LATCHED)
        self.reports = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)

    def diagnostic(self, name: str) -> Any:
        found = [s for m in self.reports[-60:] for s in m.status if s.name == name]
        return found[-1] if found else None

    def pid(self, name: str) -> int:
        def known() -> int:
            status = self.diagnostic(name)
            values = {v.key: v.value for v in status.values} if status is not None else {}
            return int(values["pid"]) if values.get("state") == "active" else 0

        return int(self.graph.wait(known, f"the process of {name}", 60.0))

    def all_active(self) -> bool:
        status = self.diagnostic("lifecycle_manager")
        return status is not None and "are active" in status.message

    def stage(self) -> str:
        return str(self.statuses[-1].stage) if self.statuses else ""

    def speed(self, message: JointState) -> float:
        return max(abs(v) for n, v in zip(message.name, message.velocity, strict=True) if n in JOINT_NAMES)

    def wait_moving(self) -> None:
        self.graph.wait(lambda: self.stage() == "reach" and self.speed(self.states[-1][1]) > 0.2, "motion", 90.0)

    def kill(self, name: str) -> float:
        """Kills a node in mid-motion; seconds of robot time until the arm stands within STILL_RAD of its rest."""
        pid = self.pid(name)
        # The world itself is read, not a topic: a message that waits in a queue would falsify the time.
        mirror = WorldMirror("cell")
        mirror.connect()
        try:
            self.wait_moving()
            os.kill(pid, signal.SIGKILL)
            killed_ns = mirror.peek().time_ns
            past: list[tuple[int, np.ndarray]] = []

            def rested() -> bool:
                state = mirror.peek()
                past.append((state.time_ns - killed_ns, state.qpos[: len(JOINT_NAMES)].copy()))
                since = [q for t_ns, q in past if t_ns > past[-1][0] - 500_000_000]
                long_enough = past[-1][0] > 700_000_000
                return long_enough and float(np.max(np.ptp(since, axis=0))) < 0.1 * STILL_RAD

            self.graph.wait(rested, f"the arm to hold after {name} died", 10.0)
        finally:
            mirror.close()
        final = past[-1][1]
        away = [t_ns for t_ns, q in past if np.max(np.abs(q - final)) > STILL_RAD]
        return max(away, default=0) / 1e9


@pytest.fixture
def cell(graph: Any, launch: Any) -> Cell:
    return Cell(graph, launch("pick", "seed:=5", "n_objects:=4", "view:=true", "port:=0"))


@pytest.mark.slow
def test_clears_the_table_though_nodes_are_killed(graph: Any, cell: Cell) -> None:
    graph.wait(cell.all_active, "all nodes", 120.0)
    clear = graph.action(ClearTable, topics.TASK_CLEAR_TABLE)
    handle = clear.send(ClearTable.Goal())
    for name in ("grasp_node", "scene_camera_node", "view_node"):
        held_s = cell.kill(name)
        assert held_s < HOLD_S, f"{name}: the arm moved for {held_s:.3f} s"
        graph.wait(lambda: cell.stage() == "wait", "the task to wait", 5.0)
        assert name in cell.statuses[-1].detail
        graph.wait(lambda: cell.stage() not in ("wait", "done"), f"{name} to be respawned", 60.0)
    end = clear.end(handle, 300.0)
    assert end.result.error_code == ClearTable.Result.SUCCESS, end.result.error_msg
    assert cell.counts[-1].in_bin >= 1
    assert end.result.removed >= cell.counts[-1].in_bin


def test_a_killed_task_leaves_the_arm_held_and_is_named(graph: Any, cell: Cell) -> None:
    graph.wait(cell.all_active, "all nodes", 120.0)
    graph.action(ClearTable, topics.TASK_CLEAR_TABLE).send(ClearTable.Goal())
    held_s = cell.kill("task_node")
    assert held_s < HOLD_S, f"the arm moved for {held_s:.3f} s"

    def named() -> bool:
        status = cell.diagnostic("lifecycle_manager")
        return status is not None and "task_node" in status.message

    graph.wait(named, "the lifecycle manager's diagnostic", 10.0)
    graph.wait(cell.all_active, "the task's return", 60.0)
    again = graph.action(ClearTable, topics.TASK_CLEAR_TABLE)
    end = again.run(ClearTable.Goal(max_objects=1), 200.0)
    assert end.result.removed == 1, end.result.error_msg
    graph.wait(lambda: cell.counts[-1].in_bin == 1, "the object to lie in the bin", 5.0)


def test_one_object_ends_in_the_bin(graph: Any, cell: Cell) -> None:
    graph.wait(cell.all_active, "all nodes", 120.0)
    end = graph.action(ClearTable, topics.TASK_CLEAR_TABLE).run(ClearTable.Goal(max_objects=1), 200.0)
    assert end.result.error_code == ClearTable.Result.SUCCESS, end.result.error_msg
    assert end.result.removed == 1
    graph.wait(lambda: cell.counts[-1].in_bin == 1, "the object to lie in the bin", 5.0)


def test_cancel_leaves_the_arm_held(graph: Any, cell: Cell) -> None:
    graph.wait(cell.all_active, "all nodes", 120.0)
    clear = graph.action(ClearTable, topics.TASK_CLEAR_TABLE)
    handle = clear.send(ClearTable.Goal())
    cell.wait_moving()
    graph.result(handle.cancel_goal_async(), "the cancel", 5.0)
    end = clear.end(handle, 10.0)
    assert end.result.error_code == ClearTable.Result.CANCELED
    graph.wait(lambda: cell.speed(cell.states[-1][1]) < RESTING_RAD_S, "rest", 5.0)
    resting = np.array(cell.states[-1][1].position)
    before = len(cell.states)
    graph.wait(lambda: len(cell.states) > before + 100, "a second of joint states", 20.0)
    np.testing.assert_allclose(np.array(cell.states[-1][1].position), resting, atol=0.01)
