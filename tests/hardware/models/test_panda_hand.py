"""The hand's geometry and grip force, measured in the compiled model."""

import mujoco
import numpy as np
import pytest

from sinew_hardware.models import panda_hand


def _hand_with_block(half_width_m: float | None) -> tuple[mujoco.MjModel, mujoco.MjData]:
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.001
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    mount = spec.worldbody.add_body(name="mount", pos=[0.0, 0.0, 0.5])
    panda_hand.add_hand(mount, spec)
    if half_width_m is not None:
        block = spec.worldbody.add_body(name="block", pos=[0.0, 0.0, 0.5 + 0.1034], gravcomp=1.0)
        block.add_freejoint()
        block.add_geom(
            name="block", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.01, half_width_m, 0.01], mass=0.1, condim=4
        )
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:2] = panda_hand.FINGER_TRAVEL_M
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize("half_width_m", [0.01, 0.03])
@pytest.mark.parametrize("force_n", [10.0, 30.0, 60.0])
def test_grip_force_per_finger_is_the_command(half_width_m: float, force_n: float) -> None:
    model, data = _hand_with_block(half_width_m)
    data.ctrl[0] = -force_n
    for _ in range(600):
        mujoco.mj_step(model, data)
    left = model.geom("panda_leftfinger_pad").id
    normal, wrench = 0.0, np.zeros(6)
    for k in range(data.ncon):
        if left in data.contact.geom[k]:
            mujoco.mj_contactForce(model, data, k, wrench)
            normal += wrench[0]
    assert normal == pytest.approx(force_n, rel=0.05)
    assert data.tendon("panda_hand_width").length[0] == pytest.approx(2 * half_width_m, abs=5e-4)


def test_fingers_move_together_and_close_fully_within_half_a_second() -> None:
    model, data = _hand_with_block(None)
    data.ctrl[0] = -30.0
    for _ in range(500):
        mujoco.mj_step(model, data)
        assert abs(data.qpos[0] - data.qpos[1]) < 1e-4
    assert abs(data.qpos[0]) < 1e-3
    data.ctrl[0] = 30.0
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert data.tendon("panda_hand_width").length[0] == pytest.approx(panda_hand.MAX_WIDTH_M, abs=1.5e-3)


def test_pads_touch_at_zero_width_and_end_at_the_fingertip() -> None:
    centres, halves = panda_hand.boxes_in_hand(0.0)
    pads = [len(panda_hand.PALM_BOXES) + len(panda_hand.FINGER_BOXES) + k * 3 for k in (0, 1)]
    assert centres[pads[0], 1] - halves[pads[0], 1] == pytest.approx(0.0, abs=1e-12)
    assert centres[pads[1], 1] + halves[pads[1], 1] == pytest.approx(0.0, abs=1e-12)
    tips = centres[pads, 2] + halves[pads, 2]
    assert tips == pytest.approx(panda_hand.FINGERTIP_Z_M, abs=5e-4)


def test_boxes_in_hand_agree_with_the_compiled_model() -> None:
    model, data = _hand_with_block(None)
    centres, halves = panda_hand.boxes_in_hand(panda_hand.MAX_WIDTH_M)
    boxes = [g for g in range(model.ngeom) if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_BOX]
    seen = data.geom_xpos[boxes] - data.body("panda_hand").xpos
    assert np.allclose(seen, centres, atol=1e-9)
    assert np.allclose(model.geom_size[boxes], halves)


def test_collision_boxes_cover_the_meshes_within_millimetres() -> None:
    vertices, _ = panda_hand.decimated_mesh("finger", 10_000)
    tip = vertices[vertices[:, 2] > 0.037]
    low = np.array(panda_hand.PAD_BOX.centre) - panda_hand.PAD_BOX.half
    high = np.array(panda_hand.PAD_BOX.centre) + panda_hand.PAD_BOX.half
    assert np.all(tip > low - 1.5e-3)
    assert np.all(tip < high + 1.5e-3)
    assert np.ptp(tip[:, 0]) == pytest.approx(2 * panda_hand.PAD_BOX.half[0], abs=3e-3)
