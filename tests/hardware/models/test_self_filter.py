"""Points on the robot's collision shapes are taken out, points away from it are kept."""

import mujoco
import numpy as np
import pytest

from sinew_hardware.models.panda import HOME_Q, JOINT_NAMES, build_arm
from sinew_hardware.models.self_filter import FILTERED_LINKS, robot_points
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream


@pytest.fixture(scope="module")
def robot() -> tuple[mujoco.MjModel, mujoco.MjData]:
    spec = mujoco.MjSpec()
    build_arm(spec, visual=False)
    model = spec.compile()
    data = mujoco.MjData(model)
    for name, q in zip(JOINT_NAMES, HOME_Q, strict=True):
        data.qpos[model.joint(name).qposadr[0]] = q
    mujoco.mj_forward(model, data)
    return model, data


def _poses(model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, np.ndarray]:
    poses = {}
    for name in FILTERED_LINKS:
        T = np.eye(4)
        T[:3, :3] = data.body(name).xmat.reshape(3, 3)
        T[:3, 3] = data.body(name).xpos
        poses[name] = T
    return poses


def test_rays_that_hit_the_robot_are_filtered_and_the_others_are_not(
    robot: tuple[mujoco.MjModel, mujoco.MjData],
) -> None:
    model, data = robot
    rng = stream(3, "rays")
    origin = np.array([1.2, 0.3, 0.9])
    hits, geom = [], np.zeros(1, np.int32)
    while len(hits) < 200:
        direction = np.array([0.25, 0.0, 0.5]) + rng.normal(0.0, 0.25, 3) - origin
        direction /= np.linalg.norm(direction)
        distance = mujoco.mj_ray(model, data, origin, direction, None, 1, -1, geom)
        if distance > 0:
            hits.append(origin + distance * direction)
    poses = _poses(model, data)
    assert robot_points(np.array(hits, np.float32), poses, width_m=0.0).mean() > 0.97
    far = rng.uniform([0.35, -0.15, 0.0], [0.65, 0.15, 0.15], (500, 3)).astype(np.float32)
    assert not robot_points(far, poses).any()


def test_a_missing_link_is_named() -> None:
    with pytest.raises(ConfigError, match="panda_hand"):
        robot_points(np.zeros((1, 3), np.float32), {f"panda_link{i}": np.eye(4) for i in range(8)})
