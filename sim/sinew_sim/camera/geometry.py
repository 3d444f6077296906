"""Intrinsics and poses of MuJoCo cameras in the optical convention (x right, y down, z out)."""

import math

import mujoco
import numpy as np

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.geometry import from_rt
from sinew_policies.common.types import F64, CameraModel

R_CAM_OPTICAL: F64 = np.diag([1.0, -1.0, -1.0])
"""MuJoCo cameras look along -z with +y up; the optical frame is that frame turned by 180° about x."""


def camera_id(model: mujoco.MjModel, camera: str) -> int:
    """Id of a named camera; raises ConfigError with the valid names."""
    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
    if found < 0:
        names = [model.camera(i).name for i in range(model.ncam)]
        raise ConfigError(f"camera '{camera}' is not in the model; {name_hint(camera, names)}")
    return int(found)


def camera_model(model: mujoco.MjModel, camera: str, width: int, height: int) -> CameraModel:
    """Pinhole intrinsics of a perspective camera rendered at width x height.

    Pixel centres are integers, so the optical axis meets the image at ((W-1)/2, (H-1)/2).
    """
    cam = camera_id(model, camera)
    if model.cam_projection[cam] != mujoco.mjtProjection.mjPROJ_PERSPECTIVE:
        raise ConfigError(f"camera '{camera}' is orthographic; intrinsics need a perspective camera with fovy")
    f = 0.5 * height / math.tan(0.5 * math.radians(float(model.cam_fovy[cam])))
    return CameraModel(width, height, f, f, 0.5 * (width - 1), 0.5 * (height - 1))


def world_from_optical(model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> F64:
    """T_world_optical (4, 4) at the data's current state (mj_kinematics and mj_camlight must have run)."""
    cam = camera_id(model, camera)
    return from_rt(data.cam_xmat[cam].reshape(3, 3) @ R_CAM_OPTICAL, data.cam_xpos[cam])


def pixel_rays(model: CameraModel) -> F64:
    """Optical-frame ray directions (H, W, 3) with z = 1, one per pixel centre."""
    u = (np.arange(model.width) - model.cx) / model.fx
    v = (np.arange(model.height) - model.cy) / model.fy
    rays = np.ones((model.height, model.width, 3))
    rays[..., 0] = u[None, :]
    rays[..., 1] = v[:, None]
    return rays
