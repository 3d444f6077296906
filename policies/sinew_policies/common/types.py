"""Frozen value types that cross module boundaries. SI units, REP-103 axes, quaternions xyzw."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]


@dataclass(frozen=True)
class CameraModel:
    """Pinhole intrinsics in pixels, no distortion; pixel centres at integer coordinates."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def K(self) -> F64:
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class CameraFrame:
    """One exposure: colour and aligned depth, in the camera's optical frame (x right, y down, z out)."""

    seq: int
    stamp_ns: int  # ROS time of the exposure
    t_mono_ns: int  # time.monotonic_ns() when it reached us; ages are computed from this one only
    model: CameraModel
    color: U8  # (H, W, 3) RGB
    depth_m: F32  # (H, W) z-depth in metres, 0 or NaN = no return
    frame_id: str


@dataclass(frozen=True)
class PointCloud:
    xyz: F32  # (N, 3) metres in frame_id
    rgb: U8  # (N, 3)
    frame_id: str
    stamp_ns: int = 0

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True)
class Grasp:
    """A parallel-jaw grasp in M2T2's frame: z = approach, x = closing axis, origin HAND_DEPTH_M (0.1034 m)
    behind the fingertips' contact line. See `geometry.T_HAND_FROM_GRASP` for the Panda's own hand frame,
    whose closing axis is y.
    """

    T_base_grasp: F64  # (4, 4)
    width_m: float  # distance of the two contacts; the hand opens wider before it closes
    score: float  # 0..1
    contact: F64  # (3,) contact point in base, on the visible surface
    object_id: int = -1  # query (= instance) that proposed it, -1 unknown
    rejection: str = ""  # empty: executable; otherwise why it was dropped ("collision", "workspace", …)

    def rejected(self, reason: str) -> "Grasp":
        return replace(self, rejection=reason)


@dataclass(frozen=True)
class GraspSet:
    """Ranked best first; rejected candidates follow the executable ones, so that a viewer can show why."""

    grasps: tuple[Grasp, ...]
    frame_id: str
    stamp_ns: int
    masks: F32 = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (objects, N) mask probability
    cloud: PointCloud | None = None  # the points the masks refer to
    stage_ms: tuple[tuple[str, float], ...] = ()  # measured latency per stage

    @property
    def executable(self) -> tuple[Grasp, ...]:
        return tuple(g for g in self.grasps if not g.rejection)


@dataclass(frozen=True)
class Trajectory:
    """Joint trajectory sampled at fixed or varying times, first sample at t = 0."""

    t_s: F64  # (T,)
    q: F64  # (T, J) rad
    dq: F64  # (T, J) rad/s
    ddq: F64  # (T, J) rad/s²

    @property
    def duration_s(self) -> float:
        return float(self.t_s[-1])
