"""Off-screen OpenGL through EGL: one pass gives colour and depth.

On a software renderer the cost is vertices times passes, so there is no multisampling, no shadow and no
reflection, and depth is read from the colour pass.
"""

import os

import mujoco
import numpy as np

from sinew_policies.common.types import F32, I32, U8, CameraModel

SKY_RGB = np.array([214, 222, 230], np.uint8)
_MAX_GEOMS = 4000


class GlUnavailable(Exception):
    """There is no usable EGL on this machine; the text says why."""


class GlBackend:
    name = "egl"

    def __init__(self, model: mujoco.MjModel, width: int, height: int, *, fine: bool = False) -> None:
        self._model = model
        self._gl = _gl_context(width, height)
        self._gl.make_current()
        quality, frame = model.vis.quality, model.vis.global_
        before = (quality.offsamples, quality.shadowsize, frame.offwidth, frame.offheight)
        quality.offsamples, quality.shadowsize = (4, 2048) if fine else (0, 0)
        frame.offwidth, frame.offheight = width, height
        try:
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        finally:
            quality.offsamples, quality.shadowsize, frame.offwidth, frame.offheight = before
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = fine
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = fine
        # A sky box writes depth, so the sky would look like a wall some metres away.
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = False
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._rgb = np.empty((height, width, 3), np.uint8)
        self._z = np.empty((height, width), np.float32)

    def render(self, data: mujoco.MjData, camera: int, model: CameraModel) -> tuple[U8, F32]:
        self._draw(data, camera)
        mujoco.mjr_readPixels(self._rgb, self._z, self._rect, self._context)
        rgb, depth_m = self._rgb[::-1].copy(), self._metres(self._z[::-1])
        rgb[depth_m == 0.0] = SKY_RGB
        return rgb, depth_m

    def segment(self, data: mujoco.MjData, camera: int, model: CameraModel) -> I32:
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        try:
            self._draw(data, camera)
            mujoco.mjr_readPixels(self._rgb, None, self._rect, self._context)
        finally:
            flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = False
        code = self._rgb[::-1].astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)
        table = np.full(self._scene.ngeom + 1, -1, np.int32)  # segment 0 is the background
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                table[geom.segid + 1] = geom.objid
        return table[code]

    def close(self) -> None:
        self._gl.make_current()
        self._context.free()
        self._gl.free()

    def _draw(self, data: mujoco.MjData, camera: int) -> None:
        self._gl.make_current()
        self._camera.fixedcamid = camera
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)
        mujoco.mjr_render(self._rect, self._scene, self._context)

    def _metres(self, buffer: F32) -> F32:
        """Undoes the reversed-z projection: buffer 1 at znear, 0 at zfar and where nothing was drawn."""
        extent = self._model.stat.extent
        near = self._model.vis.map.znear * extent
        far = self._model.vis.map.zfar * extent
        depth = buffer * np.float32(far - near)
        depth += np.float32(near)
        np.divide(np.float32(far * near), depth, out=depth)
        depth[buffer <= 0.0] = 0.0
        return depth


class _Gl:
    """Types what we use of mujoco.egl.GLContext."""

    def make_current(self) -> None: ...
    def free(self) -> None: ...


def _gl_context(width: int, height: int) -> "_Gl":
    # Mesa's shader cache has a thread of idle priority. On a busy machine it gets no time, not even to die, and a
    # killed process whose thread still lives counts as alive: its watchers noticed the death up to 1.8 s late.
    os.environ.setdefault("MESA_SHADER_CACHE_DISABLE", "true")
    # Imported here and by its own name: then neither MUJOCO_GL nor the import order decides the backend.
    try:
        from mujoco.egl import GLContext

        return GLContext(width, height)
    except Exception as fault:  # PyOpenGL raises ImportError, AttributeError, RuntimeError, GLError...
        raise GlUnavailable(f"{type(fault).__name__}: {fault}") from fault
