"""Gripper: ParallelGripperCommand on `gripper_controller/gripper_cmd`, position = total opening in metres.

A goal ends when the opening is reached or the fingers stand still before it (stalled: something is between
them). The safety latch and the lease of the arm node apply here too, by `safety/state`.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from control_msgs.action import ParallelGripperCommand
from sensor_msgs.msg import JointState
from sinew_interfaces.msg import SafetyState

from sinew_hardware import registry
from sinew_hardware.interfaces import Gripper, GripperState
from sinew_nodes import convert, qos, spin, topics
from sinew_nodes.action_host import ActionHost, Ending, Running
from sinew_nodes.base import SinewNode
from sinew_nodes.meters import Reading
from sinew_nodes.params import parameter
from sinew_nodes.ticking import ThreadTicker, Ticker
from sinew_policies.common.errors import CommandRejected, ConfigError, DeviceError, SinewError, name_hint


@dataclass(frozen=True)
class GripperConfig:
    backend: str = parameter("sim", "device backend", choices=registry.backends("gripper"))
    joints: tuple[str, ...] = parameter(
        ("panda_finger_joint1", "panda_finger_joint2"), "finger joints; each shows half of the opening"
    )
    command_joint: str = parameter("panda_gripper", "name of the opening as a whole in commands and results")
    force_n: float = parameter(30.0, "grip force per finger where the goal names none, N", low=1.0, high=200.0)
    speed_mps: float = parameter(0.1, "speed of the opening where the goal names none, m/s", low=0.005, high=0.5)
    tolerance_m: float = parameter(0.002, "the opening counts as reached within this, m", low=1e-4, high=0.02)
    stall_speed_mps: float = parameter(0.003, "slower than this the fingers stand still, m/s", low=1e-4, high=0.05)
    stall_time_s: float = parameter(0.25, "standing still for this long is a stall, s", low=0.05, high=2.0)
    allow_stalling: bool = parameter(True, "a stalled goal succeeds (it holds something) instead of aborting")
    timeout_s: float = parameter(
        5.0, "a goal that neither arrives nor stalls ends after this, s", low=0.5, high=60.0
    )
    safety: bool = parameter(True, "obey the latch and the lease in safety/state")


@dataclass
class _Move:
    running: Running
    width_m: float
    speed_mps: float
    force_n: float
    sent: bool = False
    elapsed_s: float = 0.0
    still_s: float = 0.0


class GripperNode(SinewNode[GripperConfig]):
    config_type = GripperConfig

    def __init__(
        self,
        name: str = "gripper_node",
        make: Callable[[GripperConfig], Gripper] | None = None,
        ticker: Ticker | None = None,
    ) -> None:
        """`make` builds the device (default: the registry's `backend`); `ticker` calls the loop."""
        super().__init__(name)
        self._make = make or (lambda config: registry.create("gripper", config.backend))
        self._ticker = ticker
        self._lock = threading.RLock()
        self._move: _Move | None = None
        self._hold_next = False
        self._safety: SafetyState | None = None
        self._state: GripperState | None = None

    def build(self, config: GripperConfig) -> None:
        if not config.joints:
            raise ConfigError("parameter 'joints' is empty; expected the names of the finger joints")
        self._gripper = self._make(config)
        self._gripper.connect()
        self.on_clear(self._gripper.close)
        self._states = self.publisher(JointState, topics.GRIPPER_JOINT_STATES, qos.JOINT_STATES)
        if config.safety:
            self.subscription(SafetyState, topics.SAFETY_STATE, self._on_safety, qos.LATCHED)
        self._host = ActionHost(
            self, ParallelGripperCommand, topics.GRIPPER_CMD, self._begin, self._cancel, self._refused
        )
        self.on_clear(lambda: self._host.destroy(ParallelGripperCommand.Result()))
        self.timer(0.05, self._feedback)
        ticker = self._ticker or ThreadTicker(0.01, "gripper-loop")
        self.on_clear(ticker.attach(self._tick))

    def start(self) -> None:
        self._gripper.activate()

    def stop(self) -> None:
        self._end("the gripper node was deactivated")
        self._gripper.hold()
        self._gripper.deactivate()

    def report(self, reading: Reading) -> tuple[str, dict[str, str]]:
        if self._state is None:
            return "", {}
        return "", {"width_m": f"{self._state.width_m:.4f}", "force_n": f"{self._state.force_n:.1f}"}

    # -- goals -----------------------------------------------------------------------------------------------

    def _begin(self, running: Running) -> None:
        width_m, speed_mps, force_n = self._wanted(running.request.command)
        self._check_safety(running.request.command.header.frame_id)
        with self._lock:
            self._end("a newer goal took over")
            self._move = _Move(running, width_m, speed_mps, force_n)

    def _wanted(self, command: JointState) -> tuple[float, float, float]:
        """(opening, speed, force); raises CommandRejected with the reason."""
        config, gripper = self.config, self._gripper
        if not self.is_active:
            raise CommandRejected("inactive", "gripper node is not active; activate it first")
        if len(command.position) != 1:
            raise CommandRejected(
                "length",
                f"gripper command has {len(command.position)} positions; expected one, the total opening in metres",
            )
        known = (config.command_joint, *config.joints)
        if command.name and (len(command.name) != 1 or command.name[0] not in known):
            raise CommandRejected(
                "joints", f"gripper command names {list(command.name)}; {name_hint(command.name[0], known)}"
            )
        width_m = float(command.position[0])
        speed_mps = float(command.velocity[0]) if len(command.velocity) else config.speed_mps
        force_n = float(command.effort[0]) if len(command.effort) else config.force_n
        if not np.isfinite([width_m, speed_mps, force_n]).all():
            raise CommandRejected(
                "finite", f"gripper command {width_m} m, {speed_mps} m/s, {force_n} N; expected finite numbers"
            )
        if not -config.tolerance_m <= width_m <= gripper.max_width_m + config.tolerance_m:
            raise CommandRejected(
                "position",
                f"gripper opening {width_m:.4f} m is impossible; expected 0 to {gripper.max_width_m:.3f} m in all "
                "(not per finger)",
            )
        if speed_mps <= 0.0 or force_n <= 0.0:
            raise CommandRejected("sign", f"gripper speed {speed_mps} m/s and force {force_n} N must be above 0")
        return min(max(width_m, 0.0), gripper.max_width_m), speed_mps, min(force_n, gripper.max_force_n)

    def _check_safety(self, claim: str) -> None:
        if not self.config.safety:
            return
        state = self._safety
        if state is None:
            raise CommandRejected(
                "safety",
                "no safety/state was received yet; is the arm node running? (parameter 'safety' turns this off)",
            )
        if state.estopped:
            raise CommandRejected("estop", f"emergency stop is latched ({state.estop_reason}); call safety/reset")
        if state.lease_holder not in ("", claim, topics.ARM_HOLDER):
            raise CommandRejected(
                "lease",
                f"'{state.lease_holder}' holds the lease; release it there or put the holder's name in "
                "command.header.frame_id",
            )

    def _cancel(self, running: Running) -> None:
        with self._lock:
            if self._move is not None and self._move.running is running:
                self._hold_next = True
                self._finish(Ending.CANCELED)

    def _refused(self, error: Exception) -> ParallelGripperCommand.Result:
        self.meters.count("refused")
        self.get_logger().error(f"gripper goal refused: {error}")
        return self._result(False, False)

    def _on_safety(self, state: SafetyState) -> None:
        tripped = state.estopped and not (self._safety is not None and self._safety.estopped)
        self._safety = state
        if tripped and self.is_active:
            with self._lock:
                self._hold_next = True
                self._end("emergency stop")

    # -- the loop: only it talks to the device, so that no lock is taken in two orders ---------------------

    def _tick(self, dt_s: float) -> None:
        try:
            state = self._gripper.read()
        except DeviceError as error:
            self.problem("device", f"gripper cannot be read: {error}")
            self._end("the gripper cannot be read")
            return
        self.problem("device", "")
        self._state = state
        self.meters.tick("loop")
        self._states.publish(self._joint_state(state))
        with self._lock:
            try:
                self._command(state, dt_s)
            except SinewError as error:
                self.get_logger().error(f"gripper goal ended: {error}")
                self._finish(Ending.ABORTED)

    def _command(self, state: GripperState, dt_s: float) -> None:
        if self._hold_next:
            self._hold_next = False
            self._gripper.hold()
        move = self._move
        if move is None or not self.is_active:
            return
        if move.sent:
            self._advance(move, state, dt_s)
        else:
            move.width_m = self._gripper.command(move.width_m, move.speed_mps, move.force_n)
            move.sent = True

    def _advance(self, move: _Move, state: GripperState, dt_s: float) -> None:
        config = self.config
        move.elapsed_s += dt_s
        still = abs(state.speed_mps) < config.stall_speed_mps
        move.still_s = move.still_s + dt_s if still else 0.0
        if abs(state.width_m - move.width_m) <= config.tolerance_m and still:
            self._finish(Ending.SUCCEEDED, reached=True)
        elif move.still_s >= config.stall_time_s:
            self._finish(Ending.SUCCEEDED if config.allow_stalling else Ending.ABORTED, stalled=True)
        elif move.elapsed_s > config.timeout_s:
            self.get_logger().error(
                f"gripper neither reached {move.width_m:.4f} m nor stalled within {config.timeout_s} s; "
                f"it is at {state.width_m:.4f} m"
            )
            self._finish(Ending.ABORTED)

    def _finish(self, ending: Ending, *, reached: bool = False, stalled: bool = False) -> None:
        with self._lock:
            move, self._move = self._move, None
        if move is not None:
            move.running.finish(ending, self._result(reached, stalled))

    def _end(self, reason: str) -> None:
        with self._lock:
            if self._move is not None:
                self.get_logger().warning(f"gripper goal ended: {reason}")
                self._finish(Ending.ABORTED)

    def _feedback(self) -> None:
        with self._lock:
            move, state = self._move, self._state
        if move is not None and state is not None:
            move.running.handle.publish_feedback(ParallelGripperCommand.Feedback(state=self._opening(state)))

    def _result(self, reached: bool, stalled: bool) -> ParallelGripperCommand.Result:
        result = ParallelGripperCommand.Result(stalled=stalled, reached_goal=reached)
        if self._state is not None:
            result.state = self._opening(self._state)
        return result

    def _opening(self, state: GripperState) -> JointState:
        """The command's own terms: one joint, total opening."""
        return convert.joint_state_msg(
            (self.config.command_joint,),
            np.array([state.width_m]),
            np.array([state.speed_mps]),
            np.array([state.force_n]),
            state.stamp_ns,
        )

    def _joint_state(self, state: GripperState) -> JointState:
        """Each finger's own joint: a share of the opening."""
        n = len(self.config.joints)
        return convert.joint_state_msg(
            self.config.joints,
            np.full(n, state.width_m / n),
            np.full(n, state.speed_mps / n),
            np.full(n, state.force_n),
            state.stamp_ns,
        )


def main() -> int:
    return spin.run(lambda: [GripperNode()])


if __name__ == "__main__":
    sys.exit(main())
