import re
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yourdfpy

from sinew_hardware.models import panda
from sinew_policies.common.geometry import inverse, rotation_angle
from sinew_policies.common.seeds import stream
from sinew_sim.camera.geometry import world_from_optical
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.urdf import cell_urdf

URDF = Path(__file__).parents[3] / "ros2_ws/src/sinew_description/urdf/cell.urdf"
CAMERAS = ("scene_camera", "wrist_camera")


@pytest.fixture(scope="module")
def cell() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model, _ = build_cell(CellConfig(n_objects=0))
    return model, mujoco.MjData(model)


@pytest.fixture(scope="module")
def robot() -> yourdfpy.URDF:
    return yourdfpy.URDF.load(str(URDF), load_meshes=False)


def body_pose(model, data, name) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = data.body(name).xmat.reshape(3, 3)
    T[:3, 3] = data.body(name).xpos
    return T


def test_forward_kinematics_agree_with_the_simulator(cell, robot):
    model, data = cell
    rng = stream(5, "urdf")
    names = [*panda.LINK_NAMES, "table", "bin"]
    for _ in range(50):
        q = rng.uniform(panda.LIMITS.lower, panda.LIMITS.upper)
        finger = rng.uniform(0.0, 0.04)
        data.qpos[:9] = [*q, finger, finger]
        mujoco.mj_forward(model, data)
        robot.update_cfg({**dict(zip(panda.JOINT_NAMES, q, strict=True)), "panda_finger_joint1": finger})
        expected = {name: body_pose(model, data, name) for name in names}
        tool = np.eye(4)
        tool[:3, :3] = data.site("tool0").xmat.reshape(3, 3)
        tool[:3, 3] = data.site("tool0").xpos
        expected["tool0"] = tool
        for camera in CAMERAS:
            expected[f"{camera}_color_optical_frame"] = world_from_optical(model, data, camera)
        for frame, T in expected.items():
            error = inverse(T) @ robot.get_transform(frame, "base_link")
            assert np.linalg.norm(error[:3, 3]) < 1e-6, frame
            assert rotation_angle(error[:3, :3]) < 1e-6, frame


def test_every_link_hangs_on_base_link(robot):
    assert robot.base_link == "base_link"
    wanted = {*panda.LINK_NAMES, "tool0", "table", "bin"} | {f"{c}_color_optical_frame" for c in CAMERAS}
    assert wanted <= set(robot.link_map)


def test_limits_are_the_arms(robot):
    for i, name in enumerate(panda.JOINT_NAMES):
        limit = robot.joint_map[name].limit
        assert limit.lower == pytest.approx(panda.LIMITS.lower[i])
        assert limit.upper == pytest.approx(panda.LIMITS.upper[i])
        assert limit.velocity == pytest.approx(panda.LIMITS.velocity[i])
    assert robot.joint_map["panda_finger_joint2"].mimic.joint == "panda_finger_joint1"


def test_the_committed_file_is_the_generated_one():
    number = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
    committed, fresh = URDF.read_text(), cell_urdf()
    renew = "run: python -m sinew_sim.cell.urdf > ros2_ws/src/sinew_description/urdf/cell.urdf"
    assert number.sub("#", committed) == number.sub("#", fresh), renew
    a, b = (np.array(number.findall(text), float) for text in (committed, fresh))
    assert np.allclose(a, b, atol=1e-6), renew
