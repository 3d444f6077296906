"""The robot's frames: moving joints of the URDF on /tf at the rate of the joint states, fixed ones latched."""

import sys
from dataclasses import dataclass
from pathlib import Path

from sensor_msgs.msg import JointState
from std_msgs.msg import String

from sinew_nodes import convert, qos, spin, topics, urdf
from sinew_nodes.base import SinewNode
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_nodes.tf import StaticBroadcaster, TransformBroadcaster
from sinew_policies.common.errors import ConfigError, DataError

_GAP_NS = 20_000_000


@dataclass(frozen=True)
class RobotStateConfig:
    urdf_file: str = parameter("", "path of the URDF; used when robot_description is empty")
    robot_description: str = parameter("", "text of the URDF")
    frame_prefix: str = parameter("", "put before every frame name, for several robots in one tree")


class RobotStatePublisher(SinewNode[RobotStateConfig]):
    config_type = RobotStateConfig

    def __init__(self, name: str = "robot_state_publisher") -> None:
        super().__init__(name)
        self._stamps: dict[str, int] = {}

    def build(self, config: RobotStateConfig) -> None:
        text, where = config.robot_description, "robot_description"
        if not text:
            text, where = _read(config.urdf_file), config.urdf_file
        self._tree = urdf.parse(text, where)
        self._moving = {j.name: j for j in self._tree.moving}
        self._stamps = {}
        self._positions: dict[str, float] = {}
        self._description = self.publisher(String, topics.ROBOT_DESCRIPTION, qos.LATCHED)
        self._description.publish(String(data=text))
        static = StaticBroadcaster(self)
        self.on_clear(static.destroy)
        static.send(
            [
                convert.transform_msg(j.transform(0.0), self._frame(j.parent), self._frame(j.child), 0)
                for j in self._tree.fixed
            ]
        )
        self._broadcaster = TransformBroadcaster(self)
        self.on_clear(self._broadcaster.destroy)
        self.subscription(JointState, topics.JOINT_STATES, self._on_joint_states, qos.JOINT_STATES)

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        if not self.is_active:
            return "", {}
        missing = sorted(n for n, j in self._moving.items() if n not in self._stamps and not j.mimic)
        return (f"no joint_states for {missing}: their frames are missing" if missing else ""), {}

    def _on_joint_states(self, msg: JointState) -> None:
        if not self.is_active:
            return
        try:
            given = convert.positions_by_name(msg)
        except DataError as error:
            self.meters.count("refused")
            self.problem("joint_states", f"joint_states ignored: {error}")
            return
        t_ns = convert.stamp_ns(msg.header.stamp) or self.now_ns()
        transforms = []
        for name, position in self._tree.positions(given).items():
            joint = self._moving[name]
            last = self._stamps.get(name, 0)
            if t_ns == last:
                continue  # the same sample again would only warn every listener
            if last and t_ns - last > _GAP_NS:
                self.meters.count("gaps")
            self._stamps[name] = t_ns
            T = joint.transform(position)
            transforms.append(convert.transform_msg(T, self._frame(joint.parent), self._frame(joint.child), t_ns))
        if transforms:
            self._broadcaster.send(transforms)
            self.meters.tick("tf")

    def _frame(self, link: str) -> str:
        return self.config.frame_prefix + link


def _read(path: str) -> str:
    if not path:
        raise ConfigError("neither parameter 'robot_description' nor 'urdf_file' is set; expected one of them")
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"URDF '{path}' cannot be read: {error.strerror}; check parameter 'urdf_file'") from error


def main() -> int:
    return spin.run(lambda: [RobotStatePublisher()])


if __name__ == "__main__":
    sys.exit(main())
