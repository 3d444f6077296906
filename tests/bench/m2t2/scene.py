"""One exposure of the simulated cell: the depth image that every part of the benchmark starts from."""

from dataclasses import dataclass

import mujoco

from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64, CameraFrame
from sinew_sim.camera.noise import apply_noise, noise_preset
from sinew_sim.camera.render import SceneRenderer
from sinew_sim.cell.build import build_cell
from sinew_sim.cell.config import CellConfig
from sinew_sim.cell.layout import SCENE_CAMERA, optical_frame


@dataclass(frozen=True)
class Exposure:
    frame: CameraFrame
    T_base_cam: F64


def expose(seed: int) -> Exposure:
    """A packed scene of five objects seen by the scene camera at 640x480, with stereo noise."""
    model, _ = build_cell(CellConfig(seed=seed))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    mount = SCENE_CAMERA
    renderer = SceneRenderer(model, mount.name, mount.width, mount.height)
    rendering = renderer.render(data)
    renderer.close()
    depth = apply_noise(rendering.depth_m, rendering.model, noise_preset("stereo"), stream(seed, "noise"))
    frame = CameraFrame(0, 0, 0, rendering.model, rendering.rgb, depth, optical_frame(mount.name))
    return Exposure(frame, rendering.T_world_optical)
