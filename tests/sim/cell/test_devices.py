import mujoco
import numpy as np
import pytest

from sinew_hardware.interfaces import Arm, DeviceState, Gripper
from sinew_hardware.models import panda
from sinew_policies.common.errors import CommandRejected, DeviceError, NotConnected
from sinew_policies.common.seeds import stream
from sinew_sim.cell.build import _empty_cell, build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.devices import SimArm, SimGripper
from sinew_sim.cell.world import World


@pytest.fixture(scope="module")
def empty():
    return build_cell(CellConfig(n_objects=0))


@pytest.fixture
def arm(empty) -> SimArm:
    arm = SimArm(World(*empty))
    arm.connect()
    arm.activate()
    return arm


def quintic(start: np.ndarray, change: np.ndarray, duration_s: float, t_s: float) -> np.ndarray:
    s = min(t_s / duration_s, 1.0)
    return start + change * (10 * s**3 - 15 * s**4 + 6 * s**5)


CHANGE = np.array([0.8, 0.5, 0.4, 0.5, 0.6, -0.6, 1.0])


def test_they_implement_the_protocols(arm):
    assert isinstance(arm, Arm)
    assert isinstance(SimGripper(arm._world), Gripper)
    assert arm.joint_names == panda.JOINT_NAMES


def test_arm_stays_at_home_under_gravity(arm):
    arm._world.step(1000)
    assert np.abs(arm.read().q - panda.HOME_Q).max() < 1e-3


def test_steady_state_error_is_below_a_milliradian(arm):
    rng = stream(0, "steady")
    for _ in range(4):
        start = arm.read().q
        goal = panda.HOME_Q + rng.uniform(-0.4, 0.4, 7)
        for k in range(150):
            arm.command(quintic(start, goal - start, 1.0, 0.01 * (k + 1)))
            arm._world.tick()
        assert np.abs(arm.read().q - goal).max() < 1e-3


def test_tracking_error_is_small_without_a_delay(arm):
    worst = np.zeros(7)
    for k in range(220):
        q = quintic(panda.HOME_Q, CHANGE, 2.0, 0.01 * (k + 1))
        arm.command(q)
        arm._world.tick()
        worst = np.maximum(worst, np.abs(arm.read().q - q))
    assert worst.max() < 0.004


def test_unevenly_arriving_commands_move_the_arm_smoothly(arm):
    """Some commands come a tick late, and two at once then: the arm must not answer with jolts."""
    rng = stream(1, "jitter")
    speeds, worst = [], 0.0
    for k in range(220):
        if k % 50 == 0 or rng.random() > 0.3:
            arm.command(quintic(panda.HOME_Q, CHANGE, 2.0, 0.01 * (k + 1)))
        arm._world.tick()
        state = arm.read()
        speeds.append(state.dq)
        worst = max(worst, np.abs(state.q - quintic(panda.HOME_Q, CHANGE, 2.0, 0.01 * (k + 1))).max())
    acceleration = np.abs(np.diff(np.array(speeds), axis=0)) / 0.01
    assert worst < 0.05
    assert (acceleration.max(axis=0) < 2.0 * panda.LIMITS.acceleration).all()


def test_one_command_far_away_is_followed_at_limited_speed(arm):
    goal = panda.HOME_Q + 0.5
    arm.command(goal)
    speed = np.zeros(7)
    for _ in range(150):
        arm._world.tick()
        speed = np.maximum(speed, np.abs(arm.read().dq))
    assert (speed < 1.5 * panda.LIMITS.velocity).all()
    assert np.abs(arm.read().q - goal).max() < 1e-3


def test_hold_brakes_within_limits_and_stays(arm):
    for k in range(100):
        arm.command(quintic(panda.HOME_Q, CHANGE, 2.0, 0.01 * (k + 1)))
        arm._world.tick()
    before = arm.read()
    assert np.abs(before.dq).max() > 0.5
    arm.hold()
    for _ in range(60):
        arm._world.tick()
    stopped = arm.read()
    assert np.abs(stopped.dq).max() < 1e-3
    travelled = np.abs(stopped.q - before.q)
    assert (travelled > 0.01).any()
    assert (travelled < before.dq**2 / (2 * panda.LIMITS.acceleration) + np.abs(before.dq) * 0.03 + 0.003).all()
    arm._world.step(500)
    assert np.abs(arm.read().q - stopped.q).max() < 1e-3


def test_command_returns_what_was_sent(arm):
    sent = arm.command(np.full(7, 9.0))
    assert np.array_equal(sent, panda.LIMITS.upper)


def test_bad_commands_are_refused_and_nothing_moves(arm):
    with pytest.raises(CommandRejected, match="expected 7") as caught:
        arm.command(np.zeros(6))
    assert caught.value.reason == "length"
    with pytest.raises(CommandRejected, match="not finite"):
        arm.command(np.full(7, np.nan))
    arm._world.step(100)
    assert np.abs(arm.read().q - panda.HOME_Q).max() < 1e-3


def test_life_cycle(empty):
    arm = SimArm(World(*empty))
    with pytest.raises(NotConnected, match="call connect"):
        arm.read()
    assert not arm.health().ok
    arm.connect()
    with pytest.raises(DeviceError, match="activate it"):
        arm.command(panda.HOME_Q)
    arm.activate()
    assert arm.health().state is DeviceState.ACTIVE
    arm.deactivate()
    arm.close()
    assert arm.health().state is DeviceState.DISCONNECTED


@pytest.fixture
def gripper(empty) -> SimGripper:
    gripper = SimGripper(World(*empty))
    gripper.connect()
    gripper.activate()
    return gripper


def test_gripper_moves_at_the_commanded_speed(gripper):
    gripper.command(0.02, 0.1, 30.0)
    gripper._world.step(150)  # 0.3 s
    state = gripper.read()
    assert state.width_m == pytest.approx(0.05, abs=0.003)
    assert state.speed_mps == pytest.approx(-0.1, abs=0.01)
    gripper._world.step(300)
    assert gripper.read().width_m == pytest.approx(0.02, abs=5e-4)
    assert abs(gripper.read().speed_mps) < 1e-3
    assert gripper.command(0.5, 0.1, 30.0) == 0.08
    gripper._world.step(600)
    assert gripper.read().width_m == pytest.approx(0.08, abs=5e-4)


@pytest.mark.parametrize("force_n", [15.0, 30.0, 60.0])
def test_gripper_stalls_on_an_object_with_the_commanded_force(force_n):
    model, world = gripped_cell()
    gripper = SimGripper(world)
    gripper.connect()
    gripper.activate()
    gripper.command(0.036, 0.08, force_n)  # only 4 mm less than the object
    world.step(600)
    state = gripper.read()
    assert state.width_m == pytest.approx(0.04, abs=0.001)
    assert abs(state.speed_mps) < 1e-3
    assert state.force_n == pytest.approx(force_n, rel=0.02)
    gripper.hold()
    world.step(200)
    assert gripper.read().force_n == pytest.approx(force_n, rel=0.02)
    pads = [model.geom(f"panda_{s}finger_pad").id for s in ("left", "right")]
    for pad in pads:
        total = np.zeros(6)
        for i, contact in enumerate(world.data.contact):
            if pad in (contact.geom1, contact.geom2):
                one = np.zeros(6)
                mujoco.mj_contactForce(model, world.data, i, one)
                total += one
        assert total[0] == pytest.approx(force_n, rel=0.1)


def gripped_cell() -> tuple[mujoco.MjModel, World]:
    """A cell with a fixed 4 cm cube between the open fingers of the robot at home."""
    model, manifest = build_cell(CellConfig(n_objects=0))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    tool = data.site("tool0")
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, tool.xmat)
    spec = _empty_cell(CellConfig(n_objects=0))
    spec.worldbody.add_geom(
        name="cube", type=mujoco.mjtGeom.mjGEOM_BOX, pos=tool.xpos, quat=quat, size=[0.02] * 3, condim=4
    )
    spec.add_key(name="home", qpos=[*panda.HOME_Q, 0.04, 0.04], ctrl=[*panda.HOME_Q, 0.0])
    model = spec.compile()
    return model, World(model, manifest)


def test_gripper_hold_stops_moving_fingers(gripper):
    gripper.command(0.0, 0.1, 30.0)
    gripper._world.step(150)
    gripper.hold()
    width = gripper.read().width_m
    gripper._world.step(300)
    assert gripper.read().width_m == pytest.approx(width, abs=0.003)


def test_gripper_refuses_nan(gripper):
    with pytest.raises(CommandRejected, match="not finite"):
        gripper.command(float("nan"), 0.1, 30.0)
