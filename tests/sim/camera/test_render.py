import logging
import threading
import time
from pathlib import Path

import mujoco
import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.geometry import apply
from sinew_sim.camera import render as render_module
from sinew_sim.camera.geometry import pixel_rays
from sinew_sim.camera.gl import GlUnavailable
from sinew_sim.camera.render import SceneRenderer

SCENE = """
<mujoco><asset><texture type="skybox" builtin="flat" rgb1="1 0 0" width="8" height="8"/></asset>
<worldbody><light pos="0 0 2"/>
  <geom name="floor" type="plane" size="2 2 .1" rgba=".2 .6 .3 1"/>
  <geom name="box" type="box" size=".05 .1 .08" pos=".1 0 .08" rgba="1 0 0 1" euler="0 0 30"/>
  <geom name="hidden" type="box" size=".3 .3 .3" pos="0 0 .3" group="3"/>
  <camera name="cam" pos=".6 -.3 .7" xyaxes=".447 .894 0 -.6 .3 .7" fovy="45"/>
  <camera name="flat" pos="0 0 1" projection="orthographic"/>
</worldbody></mujoco>"""
BACKENDS = ["egl", "ray"]


@pytest.fixture(scope="module")
def scene() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(640, 480), (321, 240)])
def test_back_projection_lies_on_the_plane(scene, backend, size):
    model, data = scene
    with SceneRenderer(model, "cam", *size, backend=backend) as renderer:
        image = renderer.render(data, segmentation=True)
    assert image.geom_id is not None
    assert image.depth_m.dtype == np.float32
    on_floor = (image.geom_id == model.geom("floor").id) & (image.depth_m < 2.0)
    assert on_floor.mean() > 0.3
    points = (pixel_rays(image.model) * image.depth_m[..., None])[on_floor]
    height = apply(image.T_world_optical, points.astype(np.float64))[:, 2]
    assert np.sqrt(np.mean(height**2)) < 1e-4


def test_half_a_pixel_of_error_would_be_seen(scene):
    """The law above can fail: shifting the principal point by half a pixel tilts the plane by more than 0.1 mm."""
    model, data = scene
    with SceneRenderer(model, "cam", 640, 480) as renderer:
        image = renderer.render(data, segmentation=True)
    on_floor = (image.geom_id == 0) & (image.depth_m < 2.0)
    rays = pixel_rays(image.model)
    rays[..., 1] += 0.5 / image.model.fy
    height = apply(image.T_world_optical, (rays * image.depth_m[..., None])[on_floor].astype(float))[:, 2]
    assert np.sqrt(np.mean(height**2)) > 1e-4


def test_ray_and_egl_depth_agree(scene):
    model, data = scene
    with (
        SceneRenderer(model, "cam", 640, 480, backend="egl") as a,
        SceneRenderer(model, "cam", 640, 480, backend="ray") as b,
    ):
        egl, ray = a.render(data, segmentation=True), b.render(data, segmentation=True)
    assert np.percentile(np.abs(egl.depth_m - ray.depth_m), 99) < 1e-3
    assert (egl.geom_id != ray.geom_id).mean() < 1e-3
    box = ray.geom_id == model.geom("box").id
    for image in (egl, ray):
        red = image.rgb[box].astype(int)
        assert (red[:, 0] > red[:, 1]).mean() > 0.99


def test_sky_has_no_depth(scene):
    model, data = scene
    for backend in BACKENDS:
        with SceneRenderer(model, "cam", 160, 120, backend=backend) as renderer:
            image = renderer.render(data, segmentation=True)
        assert (image.depth_m[image.geom_id == -1] == 0.0).all()
        assert (image.depth_m[image.geom_id >= 0] > 0.0).all()


def test_environment_forces_ray_casting(scene, monkeypatch):
    monkeypatch.setenv("SINEW_RENDER", "ray")
    with SceneRenderer(scene[0], "cam", 64, 48) as renderer:
        assert renderer.backend == "ray"


def test_falls_back_with_one_notice(scene, monkeypatch, caplog):
    def broken(width, height):
        raise GlUnavailable("no EGL device")

    monkeypatch.delenv("SINEW_RENDER", raising=False)
    monkeypatch.setattr("sinew_sim.camera.gl._gl_context", broken)
    monkeypatch.setattr(render_module, "_notice", threading.Event())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with SceneRenderer(scene[0], "cam", 64, 48) as renderer:
                assert renderer.backend == "ray"
                assert (renderer.render(scene[1]).depth_m > 0).any()
    assert sum("ray casting" in r.message for r in caplog.records) == 1
    with pytest.raises(ConfigError, match="libegl1"):
        SceneRenderer(scene[0], "cam", 64, 48, backend="egl").render(scene[1])


def test_another_thread_is_refused(scene):
    model, data = scene
    caught: list[Exception] = []

    def elsewhere(renderer):
        try:
            renderer.render(data)
        except RuntimeError as error:
            caught.append(error)

    with SceneRenderer(model, "cam", 64, 48) as renderer:
        renderer.render(data)
        thread = threading.Thread(target=elsewhere, args=(renderer,))
        thread.start()
        thread.join(10)
    assert "one SceneRenderer per thread" in str(caught[0])


def test_rendering_leaves_no_thread_of_idle_priority_that_would_delay_the_death_of_its_process(scene):
    model, data = scene
    with SceneRenderer(model, "cam", 64, 48, backend="egl") as renderer:
        renderer.render(data)
        threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    assert not [name for name in threads if "disk$" in name]


def test_unknown_names_list_the_valid_ones(scene):
    with pytest.raises(ConfigError, match="did you mean 'cam'"):
        SceneRenderer(scene[0], "camm", 64, 48)
    with pytest.raises(ConfigError, match="valid names: auto, egl, ray"):
        SceneRenderer(scene[0], "cam", 64, 48, backend="glx")
    with pytest.raises(ConfigError, match="orthographic"):
        SceneRenderer(scene[0], "flat", 64, 48, backend="ray").render(scene[1])


def test_a_frame_costs_little(scene):
    model, data = scene
    with SceneRenderer(model, "cam", 640, 480, backend="egl") as renderer:
        renderer.render(data)
        start = time.process_time()
        for _ in range(10):
            renderer.render(data)
    assert (time.process_time() - start) / 10 < 0.03
