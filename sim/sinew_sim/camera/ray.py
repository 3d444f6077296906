"""GL-free images by ray casting: exact depth, colours shaded by one head light."""

import mujoco
import numpy as np

from sinew_policies.common.types import F32, F64, I32, U8, CameraModel
from sinew_sim.camera.geometry import R_CAM_OPTICAL, pixel_rays
from sinew_sim.camera.gl import SKY_RGB

_VISIBLE_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # the groups MuJoCo's own renderer shows


class RayBackend:
    name = "ray"

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._rays: tuple[CameraModel, F64] | None = None
        rgba = model.geom_rgba.copy()
        materials = model.geom_matid
        rgba[materials >= 0] = model.mat_rgba[materials[materials >= 0]]
        self._geom_rgb = np.append(rgba[:, :3], [[0.0, 0.0, 0.0]], axis=0)  # last row: no geom

    def render(self, data: mujoco.MjData, camera: int, model: CameraModel) -> tuple[U8, F32]:
        directions, depth, geom, normal = self._cast(data, camera, model)
        hit = geom >= 0
        length = np.linalg.norm(directions, axis=1)
        facing = np.abs(np.einsum("ij,ij->i", directions, normal)) / length
        shade = (0.35 + 0.65 * facing)[:, None]
        rgb = (255.0 * np.clip(self._geom_rgb[geom] * shade, 0.0, 1.0)).astype(np.uint8)
        rgb[~hit] = SKY_RGB
        shape = (model.height, model.width)
        return rgb.reshape(*shape, 3), np.where(hit, depth, 0.0).astype(np.float32).reshape(shape)

    def segment(self, data: mujoco.MjData, camera: int, model: CameraModel) -> I32:
        return self._cast(data, camera, model)[2].reshape(model.height, model.width)

    def close(self) -> None:
        self._rays = None

    def _cast(self, data: mujoco.MjData, camera: int, model: CameraModel) -> tuple[F64, F64, I32, F64]:
        """World directions (P, 3) with optical z = 1, depth (P,), geom (P,), normal (P, 3).

        The returned distance counts in lengths of the direction, so z = 1 makes it the z-depth.
        """
        if self._rays is None or self._rays[0] != model:
            self._rays = (model, pixel_rays(model).reshape(-1, 3))
        R_world_optical = data.cam_xmat[camera].reshape(3, 3) @ R_CAM_OPTICAL
        directions = self._rays[1] @ R_world_optical.T
        n = len(directions)
        geom = np.empty(n, np.int32)
        depth = np.empty(n)
        normal = np.zeros(3 * n)
        mujoco.mj_multiRay(
            self._model,
            data,
            data.cam_xpos[camera],
            directions.ravel(),
            _VISIBLE_GROUPS,
            1,
            -1,
            geom,
            depth,
            normal,
            n,
            1e3,
        )
        return directions, depth, geom, normal.reshape(n, 3)
