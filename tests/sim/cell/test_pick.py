"""The cell's physics carries the product's use of it: grasp, lift, carry to the bin, release."""

import numpy as np
import pytest

from sinew_hardware.models import panda
from sinew_hardware.planning.kinematics import Kinematics
from sinew_policies.common.geometry import HAND_DEPTH_M, from_rt, rot_x, rot_z
from sinew_policies.common.seeds import stream
from sinew_sim.cell import layout
from sinew_sim.cell.build import build_cell_with
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.devices import SimArm, SimGripper
from sinew_sim.cell.world import World
from sinew_sim.objects.generator import test_pool as pool_of_test_objects


def box():
    return next(o for o in pool_of_test_objects(0, 40) if o.family == "box" and o.extents_m[:2].min() < 0.06)


@pytest.fixture
def cell():
    obj = box()
    pose = np.array([[0.5, 0.0, obj.standing_height_m + 0.0005, 1.0, 0.0, 0.0, 0.0]])
    world = World(*build_cell_with(CellConfig(n_objects=1), (obj,), pose))
    arm, gripper = SimArm(world), SimGripper(world)
    for device in (arm, gripper):
        device.connect()
        device.activate()
    return world, arm, gripper, obj


def test_a_box_is_picked_and_dropped_into_the_bin(cell):
    world, arm, gripper, obj = cell
    kinematics = Kinematics(stream(0, "pick"))
    yaw = 0.0 if obj.extents_m[1] <= obj.extents_m[0] else np.pi / 2  # close over the narrower side
    down = (rot_z(yaw) @ rot_x(np.pi))[:3, :3]

    def go(tcp: tuple[float, float, float], seconds: float) -> None:
        start = arm.read().q
        goal = kinematics.solve(from_rt(down, np.add(tcp, (0.0, 0.0, HAND_DEPTH_M))), start)
        n = round(seconds / arm.period_s)
        for k in range(n):
            s = (k + 1) / n
            arm.command(start + (goal - start) * (10 * s**3 - 15 * s**4 + 6 * s**5))
            world.tick()

    centre = max(obj.standing_height_m, 0.02)
    go((0.5, 0.0, centre + 0.12), 1.5)
    go((0.5, 0.0, centre), 1.0)
    gripper.command(0.0, 0.1, 30.0)
    world.step(400)
    held = gripper.read()
    assert held.width_m == pytest.approx(obj.extents_m[:2].min(), abs=0.004)
    assert held.force_n == pytest.approx(30.0, rel=0.05)
    go((0.5, 0.0, centre + 0.15), 1.2)
    assert world.objects()[0].position_m[2] > obj.standing_height_m + 0.12
    go((*layout.BIN_CENTRE_M, 0.25), 1.5)
    assert gripper.read().width_m == pytest.approx(held.width_m, abs=0.002)
    assert world.objects_in_bin() == ()
    gripper.command(0.08, 0.2, 30.0)
    world.step(600)
    assert world.objects_in_bin() == ("object_0",)
    assert np.abs(arm.read().q - arm.read().q.clip(panda.LIMITS.lower, panda.LIMITS.upper)).max() == 0.0
