import time

import mujoco
import numpy as np
import pytest

from sinew_hardware.models import panda
from sinew_hardware.planning.scene import cell_boxes
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.geometry import apply, inverse
from sinew_sim.camera.geometry import camera_model, world_from_optical
from sinew_sim.camera.render import SceneRenderer
from sinew_sim.cell import layout
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig


@pytest.fixture(scope="module")
def at_home(built):
    model, _ = built
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    return model, data


def test_robot_comes_first_in_the_state(built):
    model, _ = built
    names = [model.joint(i).name for i in range(9)]
    assert names == [*panda.JOINT_NAMES, *panda.FINGER_JOINT_NAMES]
    assert [model.joint(i).qposadr[0] for i in range(9)] == list(range(9))


def test_live_physics_settings(built):
    option = built[0].opt
    assert option.timestep == 0.002
    assert option.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert option.impratio == 10.0
    assert option.noslip_iterations == 5
    assert option.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST


def test_objects_start_inside_the_workspace_and_stay(built):
    model, manifest = built
    assert len(manifest.objects) == 5
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_step(model, data, nstep=500)
    centre, half = np.array(layout.WORKSPACE_CENTRE_M), layout.WORKSPACE_SIZE_M / 2
    for entry in manifest.objects:
        assert np.all(np.abs(np.array(entry.start_pose[:3]) - centre) < half)
        start = model.joint(entry.body).qposadr[0]
        assert np.linalg.norm(data.qpos[start : start + 3] - entry.start_pose[:3]) < 0.001


def test_nothing_touches_the_robot_at_home(at_home):
    model, data = at_home
    robot = {model.body(n).id for n in panda.LINK_NAMES}
    touching = [c for c in data.contact if {model.geom_bodyid[c.geom1], model.geom_bodyid[c.geom2]} & robot]
    tables = {model.body("table").id, model.body("panda_link0").id}
    assert all({model.geom_bodyid[c.geom1], model.geom_bodyid[c.geom2]} <= tables for c in touching)


def test_camera_poses_are_the_mounts(at_home):
    model, data = at_home
    for mount in (layout.SCENE_CAMERA, layout.WRIST_CAMERA):
        T_base_body = np.eye(4)
        if mount.body != layout.BASE_FRAME:
            T_base_body[:3, :3] = data.body(mount.body).xmat.reshape(3, 3)
            T_base_body[:3, 3] = data.body(mount.body).xpos
        assert np.allclose(
            world_from_optical(model, data, mount.name), T_base_body @ mount.T_body_optical, atol=1e-9
        )


def test_scene_camera_sees_workspace_and_bin_past_the_robot(at_home):
    """Every corner of both is in the image, and no pixel of the workspace shows the robot instead."""
    model, data = at_home
    camera = camera_model(model, "scene_camera", 640, 480)
    T_optical_world = inverse(world_from_optical(model, data, "scene_camera"))
    corners = np.array([[x, y, z] for x in (0.35, 0.65) for y in (-0.15, 0.15) for z in (0.0, 0.3)])
    (bx, by), (lx, ly) = layout.BIN_CENTRE_M, layout.BIN_INNER_M
    bin_rim = [[bx + sx * lx / 2, by + sy * ly / 2, layout.BIN_HEIGHT_M] for sx in (-1, 1) for sy in (-1, 1)]
    for points in (corners, np.array(bin_rim)):
        xyz = apply(T_optical_world, points)
        u = camera.fx * xyz[:, 0] / xyz[:, 2] + camera.cx
        v = camera.fy * xyz[:, 1] / xyz[:, 2] + camera.cy
        assert (u > 0).all()
        assert (u < 639).all()
        assert (v > 0).all()
        assert (v < 479).all()
        if points is corners:
            low, high = np.array([u.min(), v.min()]).astype(int), np.array([u.max(), v.max()]).astype(int)
    with SceneRenderer(model, "scene_camera", 640, 480) as renderer:
        geom = renderer.render(data, segmentation=True).geom_id
    robot = [g for g in range(model.ngeom) if model.body(model.geom_bodyid[g]).name.startswith("panda")]
    on_table = geom[low[1] : high[1], low[0] : high[0]]
    rows = np.arange(low[1], high[1])
    floor_row = apply(T_optical_world, np.array([[0.35, 0.0, 0.0]]))[0]
    first_table_row = camera.fy * floor_row[1] / floor_row[2] + camera.cy
    assert not np.isin(on_table[rows > first_table_row], robot).any()


def test_objects_are_visible(at_home, built):
    model, data = at_home
    with SceneRenderer(model, "scene_camera", 640, 480) as renderer:
        geom = renderer.render(data, segmentation=True).geom_id
    for entry in built[1].objects:
        assert (geom == model.geom(f"{entry.body}_visual").id).sum() > 100


def test_compiles_quickly():
    build_cell(CellConfig(seed=7, n_objects=0))
    start = time.process_time()
    build_cell(CellConfig(seed=7))
    assert time.process_time() - start < 1.5


def test_seed_decides_the_scene(built):
    _, again = build_cell(CellConfig(seed=7))
    _, other = build_cell(CellConfig(seed=8))
    assert again.objects == built[1].objects
    assert other.objects != built[1].objects


def test_pile_and_empty_cells_build():
    assert len(build_cell(CellConfig(seed=1, scene="pile"))[1].objects) == 5
    model, manifest = build_cell(CellConfig(n_objects=0))
    assert manifest.objects == ()
    assert model.nq == 9


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"robot": "pandar"}, "did you mean 'panda'"),
        ({"noise": "kinekt"}, "did you mean 'kinect'"),
        ({"scene": "heap"}, "valid names: packed, pile"),
        ({"seed": -1}, "0 or more"),
        ({"n_objects": 99}, "1 to 12"),
    ],
)
def test_bad_configurations_are_refused(change, text):
    with pytest.raises(ConfigError, match=text):
        CellConfig(**change)


def test_planner_and_simulator_have_the_same_bin():
    boxes = {box.name: box for box in cell_boxes() if box.name.startswith("bin")}
    assert len(boxes) == 4
    faces = {
        axis: sorted(
            abs(np.array(box.centre)[axis] - layout.BIN_CENTRE_M[axis]) - np.array(box.half)[axis]
            for box in boxes.values()
        )[-2:]
        for axis in (0, 1)
    }
    for axis in (0, 1):
        assert np.allclose(faces[axis], layout.BIN_INNER_M[axis] / 2, atol=1e-9)
    assert all(box.centre[2] + box.half[2] == pytest.approx(layout.BIN_HEIGHT_M) for box in boxes.values())
