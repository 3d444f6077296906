"""Arm: joint states at 100 Hz, the trajectory action, and the safety gate that every sample passes.

Only the control loop talks to the device. A goal's coroutine waits for a future that the loop resolves.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sensor_msgs.msg import JointState

from sinew_hardware import registry
from sinew_hardware.interfaces import Arm, ArmState
from sinew_nodes import convert, qos, spin, topics
from sinew_nodes.base import SinewNode
from sinew_nodes.follow_trajectory import FollowTrajectory
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_nodes.safety_desk import STALL_S, SafetyDesk
from sinew_nodes.ticking import ThreadTicker, Ticker
from sinew_nodes.trajectory.controller import TrajectoryController
from sinew_policies.common.errors import DeviceError, SinewError

_FINGER_AGE_NS = 200_000_000


@dataclass(frozen=True)
class ArmConfig:
    backend: str = parameter("sim", "device backend", choices=registry.backends("arm"))
    path_tolerance_rad: float = parameter(
        0.1,
        "a motion is aborted when a joint lags its command by more, where the goal says nothing",
        low=0.001,
        high=3.0,
    )
    goal_tolerance_rad: float = parameter(
        0.01, "a goal is reached within this of each joint, where it says nothing", low=1e-4, high=1.0
    )
    goal_time_s: float = parameter(
        1.0, "and within this after its end, where it says nothing, s", low=0.0, high=30.0
    )
    start_tolerance_rad: float = parameter(
        0.05, "a trajectory must start this close to where the arm is", low=1e-3, high=1.0
    )
    stale_stamp_s: float = parameter(0.5, "a trajectory stamped older than this is refused, s", low=0.0, high=10.0)
    max_duration_s: float = parameter(
        120.0, "longest trajectory, and longest wait for its start", low=1.0, high=600.0
    )
    joint_state_sources: tuple[str, ...] = parameter(
        (topics.GRIPPER_JOINT_STATES,), "topics whose joints are shown in joint_states beside the arm's"
    )
    silent_s: float = parameter(0.1, "an arm state older than this is a fault, s", low=0.02, high=2.0)


class ArmNode(SinewNode[ArmConfig]):
    config_type = ArmConfig

    def __init__(
        self,
        name: str = "arm_node",
        make: Callable[[ArmConfig], Arm] | None = None,
        ticker: Ticker | None = None,
    ) -> None:
        """`make` builds the device (default: the registry's `backend`); `ticker` calls the loop."""
        super().__init__(name)
        self._make = make or (lambda config: registry.create("arm", config.backend))
        self._ticker = ticker
        self._state: ArmState | None = None
        self._others: dict[str, JointState] = {}

    def build(self, config: ArmConfig) -> None:
        self._arm = self._make(config)
        self._arm.connect()
        self.on_clear(self._arm.close)
        self._state, self._others = None, {}
        self._controller = TrajectoryController(self._arm.joint_names)
        self._desk = SafetyDesk(self, self._controller, self._arm)
        self.on_clear(self._desk.close)
        self._follow = FollowTrajectory(self, config, self._arm, self._controller, self._desk)
        self.on_clear(self._follow.close)
        self._desk.on_node_lost = self._follow.on_node_lost
        self._states = self.publisher(JointState, topics.JOINT_STATES, qos.JOINT_STATES)
        for topic in config.joint_state_sources:
            self.subscription(JointState, topic, partial(self._on_other, topic), qos.JOINT_STATES)
        ticker = self._ticker or ThreadTicker(self._arm.period_s, "arm-loop")
        self.on_clear(ticker.attach(self._tick))

    def start(self) -> None:
        self._controller.forget()
        self._arm.activate()

    def stop(self) -> None:
        self._controller.drop("the arm node was deactivated")
        self._controller.forget()
        self._arm.hold()
        self._arm.deactivate()

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        return "", {"mode": self._controller.mode} if self.is_active else {}

    def _on_other(self, topic: str, message: JointState) -> None:
        self._others[topic] = message

    @property
    def state(self) -> ArmState | None:
        """Newest measured state."""
        return self._state

    def _tick(self, dt_s: float) -> None:
        """Once per control period; must not raise, it may run in the stepping thread of a simulation."""
        with self.meters.stage("loop"):
            try:
                state = self._arm.read()
            except DeviceError as error:
                self._fail(f"arm cannot be read: {error}")
                return
            self._state = state
            self._publish(state)
            self._desk.observe(state, dt_s)
            if self.is_active:
                try:
                    self._command(state, dt_s)
                except SinewError as error:
                    self._fail(f"arm cannot be commanded: {error}")
                else:
                    self.problem("device", "")
        self.meters.tick("loop")

    def _command(self, state: ArmState, dt_s: float) -> None:
        controller, desk = self._controller, self._desk
        if dt_s > STALL_S and controller.mode != "idle":
            controller.drop(f"the control loop stalled for {dt_s:.2f} s (allowed {STALL_S} s); the arm holds")
            self.meters.count("stalls")
        # Motion advances one period a tick, however late the tick: a loop that stutters must not buy speed.
        dt_s = self._arm.period_s
        wanted = controller.tick(dt_s, state.q, state.dq)
        output = desk.judge(wanted.q if wanted is not None else None, self._follow.holder)
        if output is None:
            controller.sent(desk.last_q, dt_s, altered=True, at_rest=True)
            return
        sent = self._arm.command(output.q)
        if output.rejected and output.event is not None:
            latch = desk.estop_reason
            why = f"emergency stop: {latch}" if latch else f"the safety gate refused it: {output.event.message}"
            controller.drop(f"{why}; the arm holds")
        controller.sent(sent, dt_s, altered=wanted is None or output.event is not None, at_rest=desk.at_rest)

    def _fail(self, message: str) -> None:
        self.problem("device", message)
        self._controller.drop(message)

    def _publish(self, state: ArmState) -> None:
        """The arm's joints, and those of other sources as long as they are fresh, in one message."""
        message = convert.joint_state_msg(self._arm.joint_names, state.q, state.dq, state.tau, state.stamp_ns)
        for other in tuple(self._others.values()):
            if abs(state.stamp_ns - convert.stamp_ns(other.header.stamp)) < _FINGER_AGE_NS:
                message.name += list(other.name)
                for mine, theirs in (
                    (message.position, other.position),
                    (message.velocity, other.velocity),
                    (message.effort, other.effort),
                ):
                    mine.extend(theirs if len(theirs) == len(other.name) else [np.nan] * len(other.name))
        self._states.publish(message)
        self.meters.tick("joint_states")


def main() -> int:
    return spin.run(lambda: [ArmNode()])


if __name__ == "__main__":
    sys.exit(main())
