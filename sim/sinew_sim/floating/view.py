"""What a depth camera sees of a scene: noisy clouds in base_link, from nominal or drawn viewpoints."""

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.geometry import from_rt, quat_from_matrix, rot_x, rot_z
from sinew_policies.common.types import F32, F64, CameraModel
from sinew_sim.camera.geometry import R_CAM_OPTICAL
from sinew_sim.camera.noise import DepthNoise, apply_noise
from sinew_sim.camera.render import SceneRenderer, refresh
from sinew_sim.cell.layout import SCENE_CAMERA
from sinew_sim.floating.scene import CAMERA, WORKSPACE_CENTRE_M, WORKSPACE_SIZE_M, FloatingScene

WIDTH_PX, HEIGHT_PX = 640, 480
CROP_MARGIN_M = 0.02
CROP_FLOOR_M = -0.01
_HALF = WORKSPACE_SIZE_M / 2 + CROP_MARGIN_M
CROP_LOW: F64 = np.array([WORKSPACE_CENTRE_M[0] - _HALF, WORKSPACE_CENTRE_M[1] - _HALF, CROP_FLOOR_M])
CROP_HIGH: F64 = np.array(
    [WORKSPACE_CENTRE_M[0] + _HALF, WORKSPACE_CENTRE_M[1] + _HALF, WORKSPACE_SIZE_M + CROP_MARGIN_M]
)
_LOOK_AT = np.array([0.50, 0.0, 0.05])


@dataclass(frozen=True)
class ViewRange:
    """Viewpoints are drawn from these; azimuth 0 stands on the far side (+x) of the workspace."""

    azimuth_rad: tuple[float, float] = (-1.6, 1.6)
    elevation_rad: tuple[float, float] = (0.65, 1.15)
    distance_m: tuple[float, float] = (0.75, 1.05)
    look_at_sigma_m: float = 0.02
    roll_sigma_rad: float = 0.05


NOMINAL_VIEW: F64 = SCENE_CAMERA.T_body_optical
"""T_base_optical (4, 4) of the cell's scene camera."""


@dataclass(frozen=True)
class CalibrationError:
    """Error of the assumed camera pose, standard deviations."""

    translation_m: float = 0.0015
    rotation_rad: float = 0.003


@dataclass(frozen=True)
class Exposure:
    """Noisy points inside the crop and where they come from."""

    xyz: F32  # (N, 3) base_link, with sensor noise and calibration error
    pixel: NDArray[np.int64]  # (N,) row-major pixel
    depth_m: F32  # (H, W) noisy z-depth
    model: CameraModel
    T_base_optical: F64  # (4, 4) the true pose
    T_assumed: F64  # (4, 4) the pose that calibration believes


def draw_view(views: ViewRange, rng: np.random.Generator) -> F64:
    """T_base_optical (4, 4) of a camera that looks at the workspace."""
    azimuth, elevation = rng.uniform(*views.azimuth_rad), rng.uniform(*views.elevation_rad)
    target = _LOOK_AT + rng.normal(0.0, 1.0, 3) * views.look_at_sigma_m
    offset = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    z = -offset
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z], axis=1) @ rot_z(rng.normal(0.0, 1.0) * views.roll_sigma_rad)
    return from_rt(R, target + rng.uniform(*views.distance_m) * offset)


def disturb(T: F64, error: CalibrationError, rng: np.random.Generator) -> F64:
    """The pose with a small error in its own frame."""
    a, b, c = rng.normal(0.0, error.rotation_rad / np.sqrt(3.0), 3)
    t = rng.normal(0.0, error.translation_m / np.sqrt(3.0), 3)
    return T @ from_rt(rot_x(a) @ rot_z(b) @ _rot_y(c), t)


class SceneCamera:
    """Moves and renders the camera of one scene; close it, or use `with`."""

    def __init__(self, scene: FloatingScene) -> None:
        self._scene = scene
        self._renderer = SceneRenderer(scene.model, CAMERA, WIDTH_PX, HEIGHT_PX)
        self._camera = int(scene.model.camera(CAMERA).id)

    def expose(
        self,
        data: mujoco.MjData,
        T_base_optical: F64,
        noise: DepthNoise,
        error: CalibrationError,
        rng: np.random.Generator,
    ) -> Exposure:
        R = T_base_optical[:3, :3] @ R_CAM_OPTICAL
        quat = quat_from_matrix(R)
        self._scene.model.cam_pos[self._camera] = T_base_optical[:3, 3]
        self._scene.model.cam_quat[self._camera] = [quat[3], *quat[:3]]
        refresh(self._scene.model, data)
        seen = self._renderer.render(data)
        depth = apply_noise(seen.depth_m, seen.model, noise, rng)
        assumed = disturb(T_base_optical, error, rng)
        xyz, pixel = _crop(depth, seen.model, assumed)
        return Exposure(xyz, pixel, depth, seen.model, T_base_optical, assumed)

    def close(self) -> None:
        self._renderer.close()

    def __enter__(self) -> "SceneCamera":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class TrueHits:
    """What the rays of chosen pixels truly meet, base_link."""

    object: NDArray[np.int64]  # (N,) object index, -1 table or nothing
    point: F64  # (N, 3)
    normal: F64  # (N, 3) outward


def true_hits(scene: FloatingScene, data: mujoco.MjData, exposure: Exposure, chosen: NDArray[np.int64]) -> TrueHits:
    """Casts the rays of points `chosen` of the exposure against the visual meshes."""
    pixel = exposure.pixel[chosen]
    cam = exposure.model
    rays = np.ones((len(pixel), 3))
    rays[:, 0] = (pixel % cam.width - cam.cx) / cam.fx
    rays[:, 1] = (pixel // cam.width - cam.cy) / cam.fy
    rays = rays @ exposure.T_base_optical[:3, :3].T
    origin = exposure.T_base_optical[:3, 3].copy()
    geom = np.full(len(pixel), -1, np.int32)
    distance, normal = np.zeros(len(pixel)), np.zeros((len(pixel), 3))
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    mujoco.mj_multiRay(
        scene.model,
        data,
        origin,
        np.ascontiguousarray(rays).ravel(),
        groups,
        1,
        -1,
        geom,
        distance,
        normal.ravel(),
        len(pixel),
        mujoco.mjMAXVAL,
    )
    owner = scene.geom_object()
    found = np.where(geom >= 0, owner[np.maximum(geom, 0)], -1)
    return TrueHits(found, origin + distance[:, None] * rays, normal)


def _crop(depth_m: F32, cam: CameraModel, T: F64) -> tuple[F32, NDArray[np.int64]]:
    pixel = np.flatnonzero(depth_m.ravel() > 0.0)
    z = depth_m.ravel()[pixel].astype(np.float64)
    local = np.stack(
        [(pixel % cam.width - cam.cx) * z / cam.fx, (pixel // cam.width - cam.cy) * z / cam.fy, z], axis=1
    )
    xyz = local @ T[:3, :3].T + T[:3, 3]
    inside = ((xyz >= CROP_LOW) & (xyz <= CROP_HIGH)).all(axis=1)
    return xyz[inside].astype(np.float32), pixel[inside]


def _rot_y(angle_rad: float) -> F64:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
