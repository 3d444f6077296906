"""Where the fixed things of the cell stand. Metres, in base_link: z = 0 is the table top, x forward, y left."""

from dataclasses import dataclass

import numpy as np

from sinew_policies.common.geometry import from_rt
from sinew_policies.common.types import F64

BASE_FRAME = "base_link"
WORKSPACE_CENTRE_M = (0.50, 0.0, 0.15)
WORKSPACE_SIZE_M = 0.30

TABLE_CENTRE_M = (0.35, 0.05)
TABLE_HALF_M = (0.55, 0.80)
TABLE_THICKNESS_M = 0.04
FLOOR_Z_M = -0.75

BIN_CENTRE_M = (0.42, 0.42)
BIN_INNER_M = (0.26, 0.34)
BIN_HEIGHT_M = 0.12
BIN_WALL_M = 0.008
_IN_BIN_ABOVE_WALL_M = 0.05  # an object on a full bin's heap still counts


@dataclass(frozen=True)
class CameraMount:
    """A camera fixed to a body; T_body_optical maps optical coordinates (x right, y down, z out) into it."""

    name: str
    body: str  # a body of the model, or base_link for the world
    T_body_optical: F64  # (4, 4)
    width: int
    height: int
    fovy_deg: float
    rate_hz: float

    @property
    def optical_frame(self) -> str:
        return optical_frame(self.name)


def optical_frame(camera_name: str) -> str:
    """TF frame of a camera's images."""
    return f"{camera_name}_color_optical_frame"


def looking_at(eye: tuple[float, float, float], target: tuple[float, float, float]) -> F64:
    """T_base_optical (4, 4) of a camera at `eye` whose image has the world's up direction up."""
    z = np.subtract(target, eye)
    z = z / np.linalg.norm(z)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    return from_rt(np.stack([x, np.cross(z, x), z], axis=1), eye)


def _wrist_pose(tilt_rad: float) -> F64:
    """T_hand_optical: beside the palm on its +x side, image x along the closing axis, tilted to the fingertips."""
    s, c = np.sin(tilt_rad), np.cos(tilt_rad)
    return from_rt(np.array([[0.0, -c, -s], [1.0, 0.0, 0.0], [0.0, -s, c]]), [0.07, 0.0, 0.005])


SCENE_CAMERA = CameraMount(
    name="scene_camera",
    body=BASE_FRAME,
    T_body_optical=looking_at((1.10, 0.12, 0.84), (0.49, 0.12, 0.08)),
    width=640,
    height=480,
    fovy_deg=45.0,
    rate_hz=10.0,
)
"""On the far side, so that the arm comes from behind the workspace; sees the workspace and the bin."""

WRIST_CAMERA = CameraMount(
    name="wrist_camera",
    body="panda_hand",
    T_body_optical=_wrist_pose(np.deg2rad(8.0)),
    width=320,
    height=240,
    fovy_deg=68.0,
    rate_hz=10.0,
)

OVERVIEW_CAMERA = CameraMount(
    name="overview_camera",
    body=BASE_FRAME,
    T_body_optical=looking_at((1.45, -0.95, 0.95), (0.32, 0.10, 0.22)),
    width=1280,
    height=720,
    fovy_deg=42.0,
    rate_hz=0.0,
)
"""For pictures and video; nothing streams it and it has no housing."""


def in_bin(position_m: F64) -> bool:
    """Whether an object's origin (3,) lies in the bin or on what fills it."""
    dx, dy = np.abs(np.asarray(position_m)[:2] - BIN_CENTRE_M)
    within = dx < BIN_INNER_M[0] / 2 and dy < BIN_INNER_M[1] / 2
    return bool(within and 0.0 < position_m[2] < BIN_HEIGHT_M + _IN_BIN_ABOVE_WALL_M)


def bin_walls() -> tuple[tuple[F64, F64], ...]:
    """Centre (3,) and half sizes (3,) of the four walls; the table is the floor."""
    (cx, cy), (lx, ly), t, h = BIN_CENTRE_M, BIN_INNER_M, BIN_WALL_M / 2, BIN_HEIGHT_M / 2
    walls = []
    for sign in (1.0, -1.0):
        along_y = np.array([t, ly / 2 + 2 * t, h])
        along_x = np.array([lx / 2, t, h])
        walls.append((np.array([cx + sign * (lx / 2 + t), cy, h]), along_y))
        walls.append((np.array([cx, cy + sign * (ly / 2 + t), h]), along_x))
    return tuple(walls)
