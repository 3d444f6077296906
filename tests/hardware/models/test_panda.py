"""The arm's model: names, frames, limits, servos, collision capsules."""

import mujoco
import numpy as np
import pytest

from sinew_hardware.models import panda
from sinew_policies.common.errors import MissingExtra
from sinew_policies.common.types import F64


def _compile(**options: bool) -> tuple[mujoco.MjModel, mujoco.MjData]:
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.002
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    panda.build_arm(spec, **options)
    model = spec.compile()
    return model, mujoco.MjData(model)


def test_names_and_limits_are_those_published_and_the_compiled_ones() -> None:
    model, _ = _compile(visual=False)
    for link in panda.LINK_NAMES:
        assert model.body(link).id > 0
    for i, name in enumerate(panda.JOINT_NAMES):
        assert model.joint(name).qposadr[0] == i
        assert model.actuator(name).id == i
        np.testing.assert_allclose(model.joint(name).range, [panda.LIMITS.lower[i], panda.LIMITS.upper[i]])
        assert model.dof_damping[i] > 0.0
    # franka.de datasheet of the Panda
    np.testing.assert_allclose(panda.LIMITS.velocity, [2.175] * 4 + [2.61] * 3)
    np.testing.assert_allclose(panda.LIMITS.upper, [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])


def test_range_is_the_same_whether_the_spec_reads_degrees_or_radians() -> None:
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    panda.build_arm(spec, visual=False)
    np.testing.assert_allclose(spec.compile().joint("panda_joint1").range, [-2.8973, 2.8973])


def test_forward_kinematics_agree_with_the_published_denavit_hartenberg_table() -> None:
    model, data = _compile(visual=False)
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = rng.uniform(panda.LIMITS.lower, panda.LIMITS.upper)
        data.qpos[:7] = q
        mujoco.mj_kinematics(model, data)
        T = _craig_dh(q)
        np.testing.assert_allclose(data.body("panda_hand").xpos, T[:3, 3], atol=1e-9)
        np.testing.assert_allclose(data.body("panda_hand").xmat.reshape(3, 3), T[:3, :3], atol=1e-9)
        np.testing.assert_allclose(data.site("tool0").xpos, (T @ [0, 0, 0.1034, 1])[:3], atol=1e-9)


def _craig_dh(q: F64) -> F64:
    """Flange frames of the Panda from its documented modified DH parameters, hand turned by -45°."""
    half = np.pi / 2
    table = [
        (0.0, 0.0, 0.333),
        (0.0, -half, 0.0),
        (0.0, half, 0.316),
        (0.0825, half, 0.0),
        (-0.0825, -half, 0.384),
        (0.0, half, 0.0),
        (0.088, half, 0.0),
        (0.0, 0.0, 0.107),
        (0.0, 0.0, 0.0),
    ]
    T = np.eye(4)
    for (a, alpha, d), theta in zip(table, [*q, 0.0, -np.pi / 4], strict=True):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        T = T @ np.array(
            [[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa], [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]]
        )
    return T


def test_home_touches_nothing_and_stays_put_within_a_milliradian() -> None:
    model, data = _compile(visual=False)
    data.qpos[:7] = data.ctrl[:7] = panda.HOME_Q
    mujoco.mj_forward(model, data)
    assert data.ncon == 0
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert np.abs(data.qpos[:7] - panda.HOME_Q).max() < 1e-3


def test_servos_lead_by_kv_over_kp_track_a_fast_motion_within_ten_milliradians() -> None:
    from sinew_hardware.planning.trajectory import sample, time_parameterise

    model, data = _compile(visual=False)
    goal = np.add(panda.HOME_Q, [0.8, 0.5, -0.6, 0.5, 0.7, 0.6, -1.0])
    trajectory = time_parameterise(np.array([panda.HOME_Q, goal]), scale=0.8)
    data.qpos[:7] = panda.HOME_Q
    lead_s = panda.SERVO_KV / panda.SERVO_KP
    worst = 0.0
    while data.time < trajectory.duration_s + 0.5:
        q, dq, _ = sample(trajectory, data.time)
        worst = max(worst, float(np.abs(data.qpos[:7] - q).max()))
        data.ctrl[:7] = q + lead_s * dq
        mujoco.mj_step(model, data)
    assert worst < 0.010
    assert np.abs(data.qpos[:7] - goal).max() < 1e-3


@pytest.mark.parametrize("link", range(8))
def test_capsules_cover_the_visual_mesh(link: int) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.load_mesh(panda.asset_folder() / f"link{link}.obj")
    points = mesh.sample(2000, seed=1)
    model, _ = _compile(visual=False)
    outside = np.full(len(points), np.inf)
    body = model.body(f"panda_link{link}").id
    for geom in np.flatnonzero(model.geom_bodyid == body):
        R = np.zeros(9)
        mujoco.mju_quat2Mat(R, model.geom_quat[geom])
        local = (points - model.geom_pos[geom]) @ R.reshape(3, 3)
        local[:, 2] -= np.clip(local[:, 2], -model.geom_size[geom, 1], model.geom_size[geom, 1])
        outside = np.minimum(outside, np.linalg.norm(local, axis=1) - model.geom_size[geom, 0])
    assert outside.max() < (0.007 if link == 0 else 0.005)  # the base never moves


def test_visual_meshes_are_cut_to_the_asked_size() -> None:
    spec = mujoco.MjSpec()
    panda.build_arm(spec, max_faces=1500)
    model = spec.compile()
    for i in range(8):
        assert model.mesh(f"panda_link{i}_visual").facenum[0] <= 1600


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panda.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'sinew-robotics\[sim\]'"):
        panda.asset_folder()
