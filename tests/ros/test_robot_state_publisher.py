"""URDF parsing and the frames published from joint states; the laws of the cell's own URDF."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from sinew_nodes import convert, qos, topics, urdf
from sinew_nodes.robot_state_publisher import RobotStatePublisher
from sinew_nodes.tf import TransformListener
from sinew_policies.common import geometry
from sinew_policies.common.errors import ConfigError

CELL = Path(__file__).parents[2] / "ros2_ws/src/sinew_description/urdf/cell.urdf"
TWO_LINKS = """<robot name="r"><link name="base"/><link name="arm"/><link name="tip"/><link name="other"/>
<joint name="turn" type="revolute"><parent link="base"/><child link="arm"/>
<origin xyz="0 0 1" rpy="0 0 1.5707963267948966"/><axis xyz="0 0 2"/></joint>
<joint name="stick" type="fixed"><parent link="arm"/><child link="tip"/><origin xyz="1 0 0"/></joint>
<joint name="slide" type="prismatic"><parent link="arm"/><child link="other"/><axis xyz="0 1 0"/>
<mimic joint="turn" multiplier="0.5" offset="0.1"/></joint></robot>"""


def test_chain_of_a_small_robot() -> None:
    tree = urdf.parse(TWO_LINKS)
    assert tree.root == "base"
    T = tree.pose("tip", {"turn": np.pi / 2})
    assert np.allclose(T[:3, 3], [-1.0, 0.0, 1.0])
    assert np.allclose(T[:3, :3], geometry.rot_z(np.pi))
    assert tree.positions({"turn": 1.0}) == {"turn": 1.0, "slide": 0.6}
    with pytest.raises(ConfigError, match="did you mean 'tip'"):
        tree.pose("tipp", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot", "is not XML"),
        ("<sdf/>", "expected a URDF"),
        (TWO_LINKS.replace("prismatic", "planar"), "joint 'slide' is 'planar'"),
        (TWO_LINKS.replace('<link name="other"/>', ""), "which do not exist"),
        (TWO_LINKS.replace('<axis xyz="0 1 0"/>', '<axis xyz="0 0 0"/>'), "expected a direction"),
        (TWO_LINKS.replace('<parent link="base"/>', '<parent link="tip"/>'), "form no single tree"),
    ],
)
def test_broken_urdfs_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        urdf.parse(text)


@pytest.mark.ros
def test_every_frame_of_the_cell_is_resolvable_at_every_stamp(graph: Any) -> None:
    node = graph.add(RobotStatePublisher())
    node.set_parameters([Parameter("urdf_file", value=str(CELL))])
    node.trigger_configure()
    node.trigger_activate()
    listener = TransformListener(graph.client)
    description = graph.listen(String, topics.ROBOT_DESCRIPTION, qos.LATCHED)
    out = graph.client.create_publisher(JointState, topics.JOINT_STATES, qos.JOINT_STATES)
    graph.wait(out.get_subscription_count, "subscription")
    tree = urdf.parse(CELL.read_text())
    names = [j.name for j in tree.moving]
    t0, step = 5_000_000_000, 10_000_000
    for i in range(50):
        q = np.full(len(names), -0.01 * i)
        out.publish(convert.joint_state_msg(names, q, None, None, t0 + i * step))
        graph.wait(
            lambda t=t0 + i * step: listener.buffer.can_transform(tree.root, "panda_hand", t), f"transform {i}"
        )
    frames = [tree.root, *(j.child for j in tree.joints)]
    assert set(frames) <= set(listener.buffer.frames)
    for stamp in range(t0, t0 + 49 * step, 3 * step + 12345):
        for frame in frames:
            listener.buffer.lookup(tree.root, frame, stamp)
    q = dict.fromkeys(names, -0.01 * 20)
    T = listener.buffer.lookup(tree.root, "panda_hand", t0 + 20 * step)
    assert np.allclose(T, tree.pose("panda_hand", q), atol=1e-9)
    graph.wait(lambda: description, "robot_description")
    assert description[0].data == CELL.read_text()


@pytest.mark.ros
def test_a_missing_file_fails_the_configuration_with_its_path(graph: Any) -> None:
    node = graph.add(RobotStatePublisher())
    node.set_parameters([Parameter("urdf_file", value="/nowhere/robot.urdf")])
    node.trigger_configure()
    assert "'/nowhere/robot.urdf' cannot be read" in node._problems["transition"]
