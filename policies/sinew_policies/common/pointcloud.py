"""Point clouds: from depth images, checked, cropped, thinned and sampled. Coordinates in metres."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common.errors import CloudError
from sinew_policies.common.jit import kernel
from sinew_policies.common.types import F64, CameraFrame, CameraModel, PointCloud

MIN_POINTS = 64
"""Fewer valid points than this are not a view of a scene."""

_MAX_VOXELS_PER_AXIS = 1 << 20


class Bounds(NamedTuple):
    """Axis-aligned box, metres; both faces belong to it. Any (2, 3) array may stand for one."""

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]

    def expanded(self, margin_m: float) -> "Bounds":
        (x0, y0, z0), (x1, y1, z1) = self
        m = margin_m
        return Bounds((x0 - m, y0 - m, z0 - m), (x1 + m, y1 + m, z1 + m))


WORKSPACE = Bounds((0.35, -0.15, 0.0), (0.65, 0.15, 0.30))
"""Where objects are picked from, in base_link: a 30 cm cube on the table (z = 0)."""

NETWORK_VIEW = Bounds((0.33, -0.17, -0.01), (0.67, 0.17, 0.32))
"""What the grasp network sees: the workspace with 2 cm around it and 1 cm of noise below the table top."""


def from_depth(
    frame: CameraFrame,
    T_base_cam: F64,
    *,
    bounds: ArrayLike | None = None,
    stride: int = 1,
    keep: NDArray[np.bool_] | None = None,
    frame_id: str = "base_link",
) -> PointCloud:
    """The frame's depth pixels as points in `frame_id`, row by row.

    Pixels without return (zero, negative, NaN, infinite), outside `bounds` or, where given, outside the mask
    `keep` (H, W) are left out; `stride` takes every stride-th row and column. T_base_cam (4, 4) maps the
    optical frame (x right, y down, z out) into `frame_id`. The result may be empty: see `validate_cloud`.

    Raises CloudError when image, intrinsics, transform, bounds or stride do not fit.
    """
    _check_frame(frame, stride, keep)
    _check_rigid(T_base_cam)
    lower, upper = _corners(bounds)
    m = frame.model
    mask_in = np.ones((1, 1), np.bool_) if keep is None else keep
    # One layout and writable, whatever a message buffer is: another kind of array means another compilation.
    depth, color, mask, T = (
        np.require(a, None, ["C", "W"]) for a in (frame.depth_m, frame.color, mask_in, T_base_cam)
    )
    xyz, rgb = _deproject(
        depth,
        color,
        mask,
        keep is not None,
        stride,
        float(m.fx),
        float(m.fy),
        float(m.cx),
        float(m.cy),
        T.astype(np.float64),
        lower,
        upper,
    )
    return PointCloud(xyz, rgb, frame_id, frame.stamp_ns)


def warm_up() -> None:
    """Compiles or loads the kernel of `from_depth`, so that the first frame is as fast as the next."""
    model = CameraModel(1, 1, 1.0, 1.0, 0.0, 0.0)
    black = np.zeros((1, 1, 3), np.uint8)
    from_depth(CameraFrame(0, 0, 0, model, black, np.zeros((1, 1), np.float32), ""), np.eye(4))


def validate_cloud(cloud: PointCloud, *, min_points: int = MIN_POINTS) -> PointCloud:
    """The cloud without its NaN and infinite points.

    Raises CloudError for wrong shapes or types, for an empty or all-NaN cloud and for fewer than `min_points`.
    """
    xyz, rgb = cloud.xyz, cloud.rgb
    if xyz.ndim != 2 or xyz.shape[1] != 3:
        raise CloudError(f"point cloud xyz has shape {xyz.shape}, expected (N, 3)")
    if xyz.dtype != np.float32:
        raise CloudError(f"point cloud xyz is {xyz.dtype}, expected float32 metres; convert with astype")
    if rgb.shape != xyz.shape or rgb.dtype != np.uint8:
        raise CloudError(
            f"point cloud rgb is {rgb.dtype} of shape {rgb.shape}, expected uint8 of shape {xyz.shape}"
        )
    where = f"in frame '{cloud.frame_id}'"
    if len(xyz) == 0:
        raise CloudError(
            f"point cloud {where} is empty; check that the depth image has returns, that the crop bounds cover "
            "the scene and that the camera pose is right"
        )
    finite: NDArray[np.bool_] = np.all(np.isfinite(xyz), axis=1)
    valid = int(finite.sum())
    if valid == 0:
        raise CloudError(f"all {len(xyz)} points {where} are NaN or infinite; check the depth source")
    if valid < min_points:
        raise CloudError(
            f"point cloud {where} has {valid} valid points, expected at least {min_points}; check the crop bounds "
            "and the camera's view"
        )
    return cloud if valid == len(xyz) else select(cloud, finite)


def select(cloud: PointCloud, which: NDArray) -> PointCloud:
    """The points at `which`: a boolean mask (N,) or indices."""
    return PointCloud(cloud.xyz[which], cloud.rgb[which], cloud.frame_id, cloud.stamp_ns)


def crop(cloud: PointCloud, bounds: ArrayLike) -> PointCloud:
    """The points inside `bounds` (2, 3), faces included; NaN points are outside."""
    lower, upper = _corners(bounds)
    inside: NDArray[np.bool_] = np.all((cloud.xyz >= lower) & (cloud.xyz <= upper), axis=1)
    return select(cloud, inside)


def voxel_downsample(cloud: PointCloud, voxel_m: float) -> PointCloud:
    """The first point of each cubic voxel, in cloud order: measured points, never averages."""
    if not voxel_m > 0.0 or not np.isfinite(voxel_m):
        raise CloudError(f"voxel size is {voxel_m} m, expected a positive number")
    if len(cloud) == 0:
        return cloud
    if not np.isfinite(cloud.xyz).all():
        raise CloudError("point cloud has NaN or infinite points; drop them with validate_cloud")
    cells = np.floor((cloud.xyz - cloud.xyz.min(axis=0)) / np.float64(voxel_m))  # (N, 3)
    if cells.max() >= _MAX_VOXELS_PER_AXIS:
        raise CloudError(
            f"voxels of {voxel_m} m are too small for a cloud of extent {np.ptp(cloud.xyz, axis=0).max():.6g} m; "
            f"use at least {np.ptp(cloud.xyz, axis=0).max() / (_MAX_VOXELS_PER_AXIS - 1):.3g} m"
        )
    ix, iy, iz = cells.astype(np.int64).T
    key = (ix * _MAX_VOXELS_PER_AXIS + iy) * _MAX_VOXELS_PER_AXIS + iz
    first = np.unique(key, return_index=True)[1]
    return select(cloud, np.sort(first))


def sample_points(cloud: PointCloud, n: int, rng: np.random.Generator) -> PointCloud:
    """n points in random order; a cloud of fewer than n repeats its points as evenly as possible."""
    if len(cloud) == 0 or n < 1:
        raise CloudError(f"cannot sample {n} of {len(cloud)} points; both must be at least 1")
    return select(cloud, np.resize(rng.permutation(len(cloud)), n))


@kernel
def _deproject(depth, color, keep, masked, stride, fx, fy, cx, cy, T, lower, upper):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    limit = ((height + stride - 1) // stride) * ((width + stride - 1) // stride)
    xyz = np.empty((limit, 3), np.float32)
    rgb = np.empty((limit, 3), np.uint8)
    lo_x, lo_y, lo_z = lower[0], lower[1], lower[2]
    hi_x, hi_y, hi_z = upper[0], upper[1], upper[2]
    n = 0
    for v in range(0, height, stride):
        b = (v - cy) / fy
        row_x = T[0, 1] * b + T[0, 2]
        row_y = T[1, 1] * b + T[1, 2]
        row_z = T[2, 1] * b + T[2, 2]
        for u in range(0, width, stride):
            z = np.float64(depth[v, u])
            if not (z > 0.0 and z < np.inf) or (masked and not keep[v, u]):
                continue
            a = (u - cx) / fx
            x_b = np.float32((T[0, 0] * a + row_x) * z + T[0, 3])
            y_b = np.float32((T[1, 0] * a + row_y) * z + T[1, 3])
            z_b = np.float32((T[2, 0] * a + row_z) * z + T[2, 3])
            if x_b < lo_x or x_b > hi_x or y_b < lo_y or y_b > hi_y or z_b < lo_z or z_b > hi_z:
                continue
            xyz[n, 0], xyz[n, 1], xyz[n, 2] = x_b, y_b, z_b
            rgb[n, 0], rgb[n, 1], rgb[n, 2] = color[v, u, 0], color[v, u, 1], color[v, u, 2]
            n += 1
    return xyz[:n].copy(), rgb[:n].copy()


def _corners(bounds: ArrayLike | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if bounds is None:
        return np.full(3, -np.inf, np.float32), np.full(3, np.inf, np.float32)
    box = np.asarray(bounds, dtype=np.float32)
    if box.shape != (2, 3) or not (box[0] < box[1]).all():
        raise CloudError(
            f"bounds are {np.asarray(bounds).tolist()}, expected lower and upper corner (2, 3) in metres with "
            "lower < upper on each axis"
        )
    return box[0], box[1]


def _check_frame(frame: CameraFrame, stride: int, keep: NDArray[np.bool_] | None) -> None:
    m, depth = frame.model, frame.depth_m
    camera = f"camera '{frame.frame_id}'"
    if depth.ndim != 2 or depth.dtype != np.float32:
        raise CloudError(
            f"depth image of {camera} is {depth.dtype} of shape {depth.shape}, expected float32 metres (H, W); "
            "divide 16-bit millimetres by 1000"
        )
    if depth.shape != (m.height, m.width):
        raise CloudError(
            f"depth image of {camera} is {depth.shape[1]}x{depth.shape[0]} but its intrinsics are for "
            f"{m.width}x{m.height}; publish the CameraInfo that belongs to this image"
        )
    if frame.color.shape != (m.height, m.width, 3) or frame.color.dtype != np.uint8:
        raise CloudError(
            f"colour image of {camera} is {frame.color.dtype} of shape {frame.color.shape}, expected uint8 "
            f"({m.height}, {m.width}, 3); align colour and depth"
        )
    intrinsics = (m.fx, m.fy, m.cx, m.cy)
    if not (np.isfinite(intrinsics).all() and m.fx > 0.0 and m.fy > 0.0):
        raise CloudError(
            f"intrinsics of {camera} are (fx, fy, cx, cy) = {intrinsics}, expected finite with positive focal "
            "lengths; an all-zero CameraInfo means an uncalibrated camera"
        )
    if stride < 1:
        raise CloudError(f"stride is {stride}, expected at least 1")
    if keep is not None and (keep.shape != depth.shape or keep.dtype != np.bool_):
        raise CloudError(f"mask is {keep.dtype} of shape {keep.shape}, expected bool of shape {depth.shape}")


def _check_rigid(T: F64) -> None:
    ok = T.shape == (4, 4) and bool(np.isfinite(T).all())
    if ok:
        R = T[:3, :3]
        ok = bool(
            np.allclose(R @ R.T, np.eye(3), atol=1e-3)
            and np.linalg.det(R) > 0.0
            and np.array_equal(T[3], [0.0, 0.0, 0.0, 1.0])
        )
    if not ok:
        raise CloudError(f"T_base_cam is not a rigid transform (4, 4): {T.tolist()}; check the camera's TF")
