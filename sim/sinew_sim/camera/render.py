"""Colour, z-depth and segmentation of a model's cameras: EGL where there is one, ray casting elsewhere."""

import logging
import os
import threading
from dataclasses import dataclass
from typing import Protocol

import mujoco

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.types import F32, F64, I32, U8, CameraModel
from sinew_sim.camera.geometry import camera_id, camera_model, world_from_optical
from sinew_sim.camera.gl import GlBackend, GlUnavailable
from sinew_sim.camera.ray import RayBackend

BACKENDS = ("auto", "egl", "ray")
_log = logging.getLogger(__name__)
_notice = threading.Event()


@dataclass(frozen=True)
class Rendering:
    """One noise-free exposure."""

    model: CameraModel
    T_world_optical: F64  # (4, 4)
    rgb: U8  # (H, W, 3)
    depth_m: F32  # (H, W) z-depth in metres, 0 = nothing hit
    geom_id: I32 | None  # (H, W) geom hit, -1 = none; only when segmentation was asked for


class Backend(Protocol):
    name: str

    def render(self, data: mujoco.MjData, camera: int, model: CameraModel) -> tuple[U8, F32]: ...
    def segment(self, data: mujoco.MjData, camera: int, model: CameraModel) -> I32: ...
    def close(self) -> None: ...


class SceneRenderer:
    """Renders the cameras of one model; created once and reused, by the thread that rendered first.

    `backend` is auto, egl or ray; auto takes the environment variable SINEW_RENDER if it is set, else EGL,
    else GL-free ray casting with one logged notice. The graphics context is made by the first `render` and
    belongs to that thread; other threads get RuntimeError. `fine` adds multisampling and shadows, for
    pictures only: it costs about ten times as much on a software renderer.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        camera_name: str,
        width: int,
        height: int,
        *,
        backend: str = "auto",
        fine: bool = False,
    ) -> None:
        chosen = os.environ.get("SINEW_RENDER", "auto") if backend == "auto" else backend
        if chosen not in BACKENDS:
            raise ConfigError(f"render backend '{chosen}' is unknown; {name_hint(chosen, BACKENDS)}")
        self._model = model
        self._wanted = chosen
        self._fine = fine
        self._camera_name = camera_name
        self._size = (width, height)
        camera_id(model, camera_name)
        self._backend: Backend | None = None
        self._owner: int | None = None

    @property
    def backend(self) -> str:
        """egl or ray; makes the graphics context if there is none yet."""
        return self._get().name

    @property
    def camera(self) -> CameraModel:
        return camera_model(self._model, self._camera_name, *self._size)

    def render(
        self, data: mujoco.MjData, *, camera_name: str | None = None, segmentation: bool = False
    ) -> Rendering:
        """Renders at the state in `data`, whose kinematics must be current (mj_forward or `refresh`).

        `camera_name` picks another camera of the same model at this renderer's size.
        """
        name = camera_name or self._camera_name
        cam = camera_id(self._model, name)
        intrinsics = camera_model(self._model, name, *self._size)
        backend = self._get()
        rgb, depth_m = backend.render(data, cam, intrinsics)
        geom_id = backend.segment(data, cam, intrinsics) if segmentation else None
        return Rendering(intrinsics, world_from_optical(self._model, data, name), rgb, depth_m, geom_id)

    def close(self) -> None:
        if self._backend is not None:
            self._get().close()
            self._backend = None
            self._owner = None

    def __enter__(self) -> "SceneRenderer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self) -> Backend:
        me = threading.get_ident()
        if self._backend is None:
            self._backend = self._open()
            self._owner = me
        elif self._owner != me:
            raise RuntimeError(
                f"camera '{self._camera_name}' is rendered by another thread; a graphics context belongs to "
                "the thread that rendered first: use one SceneRenderer per thread"
            )
        return self._backend

    def _open(self) -> Backend:
        if self._wanted == "ray":
            return RayBackend(self._model)
        try:
            return GlBackend(self._model, *self._size, fine=self._fine)
        except GlUnavailable as fault:
            if self._wanted == "egl":
                raise ConfigError(
                    f"EGL rendering is not available: {fault}; install libegl1 libegl-mesa0 libgl1-mesa-dri "
                    "or use SINEW_RENDER=ray"
                ) from fault
            if not _notice.is_set():
                _notice.set()
                _log.warning(
                    "EGL is not available (%s): cameras fall back to ray casting, slower and with plain "
                    "colours; install libegl1 libegl-mesa0 libgl1-mesa-dri for full images",
                    fault,
                )
            return RayBackend(self._model)


def refresh(model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Brings everything a renderer reads up to date with data.qpos and the mocap poses, without dynamics."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)
    mujoco.mj_tendon(model, data)
