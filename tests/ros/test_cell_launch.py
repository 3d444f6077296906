"""The real launch file through the runner: the cell comes up, moves, sees, survives a killed camera, ends."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_msgs.action import FollowJointTrajectory, ParallelGripperCommand
from diagnostic_msgs.msg import DiagnosticArray
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from sinew_interfaces.msg import ObjectCount
from tf2_msgs.msg import TFMessage
from trajectory_msgs.msg import JointTrajectoryPoint

from sinew_hardware.models.panda import HOME_Q, JOINT_NAMES
from sinew_nodes import convert, qos, topics
from sinew_nodes.tf import TransformListener

pytestmark = pytest.mark.ros
MAX_GAP_NS = 20_000_000


def test_the_cell_comes_up_moves_sees_and_ends(graph: Any, launch: Any) -> None:
    images = graph.listen(Image, topics.color("scene_camera"), qos.SENSOR)
    depths = graph.listen(Image, topics.depth("wrist_camera"), qos.SENSOR)
    infos = graph.listen(CameraInfo, topics.depth_info("wrist_camera"), qos.SENSOR)
    states = graph.listen(JointState, topics.JOINT_STATES, qos.JOINT_STATES)
    clocks = graph.listen(Clock, topics.CLOCK, qos.CLOCK)
    counts = graph.listen(ObjectCount, topics.OBJECT_COUNT, qos.LATCHED)
    transforms = graph.listen(TFMessage, topics.TF, qos.TF)
    reports = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
    listener = TransformListener(graph.client)
    cell = launch("devices_sim", "seed:=1", "n_objects:=2")
    graph.wait(lambda: images and depths, "images of both cameras", 60.0)

    # The arm moves by the action while everything is published; what came while two processes met does not count.
    graph.wait(lambda: len(states) > 10 and len(transforms) > 10, "joint states and frames", 20.0)
    first, first_tf = len(states), len(transforms)
    arm = graph.action(FollowJointTrajectory, topics.FOLLOW_JOINT_TRAJECTORY)
    goal = FollowJointTrajectory.Goal()
    goal.trajectory.joint_names = list(JOINT_NAMES)
    target = HOME_Q + np.array([0.4, 0.1, 0.0, 0.2, 0.0, 0.1, 0.3])
    point = JointTrajectoryPoint(positions=target.tolist())
    point.time_from_start.sec = 2
    goal.trajectory.points = [point]
    end = arm.run(goal, 30.0)
    assert end.result.error_code == FollowJointTrajectory.Result.SUCCESSFUL, end.result.error_string
    assert len(states[-1].name) == 9
    at = convert.positions_by_name(states[-1])
    assert np.allclose([at[n] for n in JOINT_NAMES], target, atol=0.01)
    stamps = np.array([convert.stamp_ns(m.header.stamp) for m in states[first:]])
    assert len(stamps) > 150  # two seconds, less what a loaded machine delivers late
    periods = np.diff(stamps) / 10_000_000  # a listener that had no processor for a moment misses some
    assert (periods == periods.round()).all(), "joint states do not come at 100 Hz of simulated time"
    assert periods.mean() < 1.02, "joint states are missing"

    # The hand closes on nothing and opens again.
    hand = graph.action(ParallelGripperCommand, topics.GRIPPER_CMD)
    for width_m in (0.0, 0.08):
        command = ParallelGripperCommand.Goal(command=JointState(position=[width_m]))
        assert hand.run(command, 30.0).result.reached_goal

    # Frames: every frame resolvable at every image stamp, no gap over 20 ms.
    tf_stamps = np.array([convert.stamp_ns(m.transforms[0].header.stamp) for m in transforms[first_tf:]])
    assert np.diff(tf_stamps).max() <= MAX_GAP_NS
    graph.wait(lambda: listener.buffer.newest_ns("base_link", "panda_hand") > _stamp(images[-1]), "frames")
    for image in [*images[-10:], *depths[-10:]]:
        stamp = min(_stamp(image), listener.buffer.newest_ns("base_link", "panda_hand"))
        for frame in (image.header.frame_id, "panda_link7", "panda_hand", "panda_leftfinger", "tool0"):
            listener.buffer.lookup("base_link", frame, stamp)
    assert {_stamp(m) for m in depths[-5:]} <= {_stamp(m) for m in infos}
    assert (images[-1].width, images[-1].height) == (640, 480)
    assert len(images) > 10
    assert counts[-1].total == 2
    assert len(clocks) > 200

    # A killed camera comes back by itself.
    watched = {s.name: {v.key: v.value for v in s.values} for m in reports for s in m.status}
    assert watched["sim_host"]["state"] == "active"
    os.kill(int(watched["scene_camera_node"]["pid"]), signal.SIGKILL)
    graph.wait(
        lambda: "scene_camera_node" in cell.log.read_text() and "again" in cell.log.read_text(), "the notice"
    )
    before = len(images)
    graph.wait(lambda: len(images) > before + 3, "images of the respawned camera", 40.0)

    code, seconds = cell.end(times=2)
    assert code == 0
    assert seconds < 5.0
    assert cell.orphans() == []
    assert "Traceback" not in cell.log.read_text()


def test_killing_the_host_ends_the_launch_with_its_name(graph: Any, launch: Any) -> None:
    reports = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
    cell = launch("devices_sim", "scene:=empty", "cameras:=false")

    def pid() -> str:
        found = [s for m in reports for s in m.status if s.name == "arm_node" and s.message == "active"]
        return next((v.value for v in found[-1].values if v.key == "pid"), "") if found else ""

    host = graph.wait(pid, "the active arm node", 60.0)
    os.kill(int(host), signal.SIGKILL)
    assert cell.process.wait(timeout=15.0) != 0
    assert "sim_host" in cell.log.read_text().splitlines()[-1] or "sim_host" in cell.log.read_text()
    assert cell.orphans() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_single_processes_end_with_zero_and_no_traceback(graph: Any, number: int, tmp_path: Path) -> None:
    program = Path(os.environ["AMENT_PREFIX_PATH"].split(":")[0]).parent / "sinew_nodes/lib/sinew_nodes/sim_host"
    reports = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
    log = tmp_path / "host.log"
    with log.open("w") as out:
        host = subprocess.Popen([str(program)], stdout=out, stderr=subprocess.STDOUT, env=dict(os.environ))
    try:
        graph.wait(lambda: any(s.name == "sim_host" for m in reports for s in m.status), "the host", 30.0)
        start = time.monotonic()
        host.send_signal(number)
        host.send_signal(number)
        assert host.wait(timeout=10.0) == 0
        assert time.monotonic() - start < 3.0
    finally:
        host.kill()
    assert "Traceback" not in log.read_text()


def _stamp(message: Any) -> int:
    return convert.stamp_ns(message.header.stamp)
