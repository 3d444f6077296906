"""Depth to points, crops, voxels and samples: laws, and a clear error for each unusable input."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common import geometry
from sinew_policies.common.errors import CloudError
from sinew_policies.common.pointcloud import (
    NETWORK_VIEW,
    WORKSPACE,
    Bounds,
    crop,
    from_depth,
    sample_points,
    validate_cloud,
    voxel_downsample,
)
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64, CameraFrame, CameraModel, PointCloud

MODEL = CameraModel(width=64, height=48, fx=60.0, fy=61.0, cx=31.5, cy=23.0)


def frame(seed: int = 0) -> CameraFrame:
    g = stream(seed, "frame")
    depth = g.uniform(0.5, 1.5, (MODEL.height, MODEL.width)).astype(np.float32)
    color = g.integers(0, 256, (MODEL.height, MODEL.width, 3)).astype(np.uint8)
    return CameraFrame(0, 77, 0, MODEL, color, depth, "scene_camera_color_optical_frame")


def pose(seed: int) -> F64:
    g = stream(seed, "pose")
    return geometry.from_rt(geometry.matrix_from_quat(g.normal(size=4)), g.uniform(-1, 1, 3))


def random_cloud(n: int, seed: int = 0, spread: float = 0.5) -> PointCloud:
    g = stream(seed, "cloud")
    xyz = g.uniform(-spread, spread, (n, 3)).astype(np.float32)
    return PointCloud(xyz, g.integers(0, 256, (n, 3)).astype(np.uint8), "base_link", 5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_points_project_back_onto_their_pixels(seed: int, stride: int) -> None:
    f, T = frame(seed), pose(seed)
    cloud = from_depth(f, T, stride=stride)
    x, y, z = geometry.apply(geometry.inverse(T), cloud.xyz.astype(np.float64)).T
    u, v = x / z * MODEL.fx + MODEL.cx, y / z * MODEL.fy + MODEL.cy
    vv, uu = np.mgrid[0 : MODEL.height : stride, 0 : MODEL.width : stride]
    np.testing.assert_allclose(u, uu.ravel(), atol=1e-3)
    np.testing.assert_allclose(v, vv.ravel(), atol=1e-3)
    np.testing.assert_allclose(z, f.depth_m[::stride, ::stride].ravel(), atol=1e-5)
    np.testing.assert_array_equal(cloud.rgb, f.color[::stride, ::stride].reshape(-1, 3))
    assert cloud.frame_id == "base_link"
    assert cloud.stamp_ns == 77


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_bounds_while_reading_equal_a_crop_afterwards(seed: int) -> None:
    f, T = frame(seed), pose(seed)
    middle = from_depth(f, T).xyz.mean(axis=0)
    box = Bounds(tuple(middle - 0.2), tuple(middle + 0.3))
    inside, after = from_depth(f, T, bounds=box), crop(from_depth(f, T), box)
    assert 0 < len(inside) < MODEL.width * MODEL.height
    np.testing.assert_array_equal(inside.xyz, after.xyz)
    np.testing.assert_array_equal(inside.rgb, after.rgb)


@pytest.mark.parametrize("hole", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_pixels_without_return_are_left_out(hole: float) -> None:
    f = frame()
    depth = f.depth_m.copy()
    depth[3, 4] = depth[10] = hole
    cloud = from_depth(replace(f, depth_m=depth), np.eye(4))
    assert len(cloud) == MODEL.width * MODEL.height - MODEL.width - 1
    assert np.isfinite(cloud.xyz).all()


def test_message_buffers_give_the_same() -> None:
    """Read-only and strided images, as messages deliver them."""
    f = frame()
    color = np.frombuffer(f.color.tobytes(), np.uint8).reshape(f.color.shape)
    wide = np.zeros((MODEL.height, MODEL.width + 5), np.float32)
    wide[:, : MODEL.width] = f.depth_m
    other = from_depth(replace(f, color=color, depth_m=wide[:, : MODEL.width]), np.eye(4))
    cloud = from_depth(f, np.eye(4))
    np.testing.assert_array_equal(other.xyz, cloud.xyz)
    np.testing.assert_array_equal(other.rgb, cloud.rgb)


def test_masked_pixels_are_left_out() -> None:
    f = frame()
    keep = stream(0, "keep").random(f.depth_m.shape) < 0.5
    cloud = from_depth(f, np.eye(4), keep=keep)
    np.testing.assert_array_equal(cloud.rgb, f.color[keep])


def test_network_view_is_the_workspace_with_its_margin() -> None:
    around = WORKSPACE.expanded(0.02)
    np.testing.assert_allclose(NETWORK_VIEW.upper, around.upper)
    np.testing.assert_allclose(NETWORK_VIEW.lower[:2], around.lower[:2])
    assert NETWORK_VIEW.lower[2] == -0.01


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.floats(0.005, 1.0), st.integers(0, 100))
def test_one_measured_point_per_voxel(n: int, voxel_m: float, seed: int) -> None:
    cloud = random_cloud(n, seed)
    thin = voxel_downsample(cloud, voxel_m)
    lo = cloud.xyz.min(axis=0)

    def voxels(c: PointCloud) -> set[tuple[int, ...]]:
        return {tuple(v) for v in np.floor((c.xyz - lo) / np.float64(voxel_m)).astype(int).tolist()}

    assert voxels(thin) == voxels(cloud)
    assert len(thin) == len(voxels(cloud))
    measured = {tuple(p) for p in cloud.xyz.tolist()}
    assert all(tuple(p) in measured for p in thin.xyz.tolist())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 500), st.integers(0, 100))
def test_a_sample_repeats_points_evenly(size: int, n: int, seed: int) -> None:
    cloud = random_cloud(size, seed)
    drawn = sample_points(cloud, n, stream(seed, "draw"))
    counts = np.unique(drawn.xyz, axis=0, return_counts=True)[1]
    assert len(drawn) == n
    assert len(counts) == min(n, size)
    assert counts.max() - counts.min() <= 1
    again = sample_points(cloud, n, stream(seed, "draw"))
    np.testing.assert_array_equal(drawn.xyz, again.xyz)


def test_invalid_points_are_dropped() -> None:
    cloud = random_cloud(100)
    xyz = cloud.xyz.copy()
    xyz[5, 0], xyz[7, 2] = np.nan, np.inf
    valid = validate_cloud(replace(cloud, xyz=xyz))
    assert len(valid) == 98
    np.testing.assert_array_equal(valid.rgb, np.delete(cloud.rgb, [5, 7], axis=0))
    assert validate_cloud(cloud) is cloud


def test_a_million_points_pass() -> None:
    cloud = random_cloud(1_000_000)
    assert len(validate_cloud(cloud)) == 1_000_000
    assert len(voxel_downsample(crop(cloud, Bounds((0, 0, 0), (0.1, 0.1, 0.1))), 0.005)) <= 21**3


def _bad_clouds() -> list[tuple[PointCloud, str]]:
    good = random_cloud(100)
    return [
        (random_cloud(0), "is empty; check that the depth image has returns"),
        (replace(good, xyz=np.full_like(good.xyz, np.nan)), "all 100 points in frame 'base_link' are NaN"),
        (random_cloud(63), "63 valid points, expected at least 64"),
        (replace(good, xyz=good.xyz[:, :2]), "shape (100, 2), expected (N, 3)"),
        (replace(good, xyz=good.xyz.astype(np.float64)), "float64, expected float32"),  # type: ignore[arg-type]
        (replace(good, rgb=good.rgb[:50]), "shape (50, 3), expected uint8 of shape (100, 3)"),
    ]


@pytest.mark.parametrize(("cloud", "words"), _bad_clouds())
def test_unusable_clouds_are_named(cloud: PointCloud, words: str) -> None:
    with pytest.raises(CloudError) as e:
        validate_cloud(cloud)
    assert words in str(e.value)


def _bad_frames() -> list[tuple[CameraFrame, str]]:
    f = frame()
    return [
        (replace(f, depth_m=f.depth_m[::2, ::2].copy()), "is 32x24 but its intrinsics are for 64x48"),
        (replace(f, depth_m=(f.depth_m * 1000).astype(np.uint16)), "divide 16-bit millimetres by 1000"),
        (replace(f, color=f.color[:-1]), "align colour and depth"),
        (replace(f, model=replace(MODEL, fx=0.0)), "uncalibrated camera"),
        (replace(f, model=replace(MODEL, cx=float("nan"))), "expected finite"),
    ]


@pytest.mark.parametrize(("bad", "words"), _bad_frames())
def test_unusable_frames_are_named(bad: CameraFrame, words: str) -> None:
    with pytest.raises(CloudError) as e:
        from_depth(bad, np.eye(4))
    assert words in str(e.value)


@pytest.mark.parametrize(
    "T", [np.eye(3), np.full((4, 4), np.nan), np.diag([1, 1, -1, 1.0]), 2 * np.eye(4), np.zeros((4, 4))]
)
def test_a_broken_camera_pose_is_named(T: F64) -> None:
    with pytest.raises(CloudError, match="not a rigid transform"):
        from_depth(frame(), T)


def test_broken_numbers_are_named() -> None:
    cloud = random_cloud(100)
    with pytest.raises(CloudError, match="lower < upper"):
        crop(cloud, [[0, 0, 0], [1, -1, 1]])
    with pytest.raises(CloudError, match="stride is 0"):
        from_depth(frame(), np.eye(4), stride=0)
    with pytest.raises(CloudError, match="mask is bool of shape"):
        from_depth(frame(), np.eye(4), keep=np.ones((2, 2), np.bool_))
    with pytest.raises(CloudError, match="voxel size is 0"):
        voxel_downsample(cloud, 0.0)
    with pytest.raises(CloudError, match=r"use at least 0\.99"):
        voxel_downsample(replace(cloud, xyz=cloud.xyz * np.float32(1.05e6)), 1e-3)
    with pytest.raises(CloudError, match="cannot sample 5 of 0"):
        sample_points(random_cloud(0), 5, stream(0, "x"))
