"""Conversion laws: what goes out comes back, at full speed; what is broken is refused with the reason."""

import array
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image, PointCloud2
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from sinew_nodes import convert
from sinew_policies.common import geometry
from sinew_policies.common.errors import CloudError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import CameraModel, Grasp, GraspSet, PointCloud, Trajectory

MODEL = CameraModel(64, 48, 60.0, 61.0, 31.5, 23.5)
RNG = stream(0, "convert")
COLOR = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
DEPTH = RNG.uniform(0.2, 3.0, (48, 64)).astype(np.float32)


def test_colour_round_trip_is_a_view() -> None:
    msg = convert.rgb_image_msg(COLOR, "cam", 1_500_000_001)
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec, msg.step) == (1, 500_000_001, 192)
    assert isinstance(msg.data, array.array)
    back = convert.rgb(msg)
    assert np.array_equal(back, COLOR)
    assert back.base is not None


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_round_trip(encoding: str) -> None:
    depth = DEPTH.copy()
    depth[0, 0], depth[0, 1] = np.nan, 70.0
    back = convert.depth_m(convert.depth_image_msg(depth, "cam", 0, encoding))
    assert np.abs(back[1:] - depth[1:]).max() <= (0.00051 if encoding == "16UC1" else 0.0)
    if encoding == "16UC1":  # NaN and what the format cannot hold are "no return", never a wrapped distance
        assert (back[0, 0], back[0, 1]) == (0.0, 0.0)


def test_padded_rows_and_other_channel_orders() -> None:
    padded = np.zeros((48, 200), np.uint8)
    padded[:, :192] = COLOR[:, :, ::-1].reshape(48, 192)
    msg = convert.rgb_image_msg(COLOR, "cam", 0)
    msg.encoding, msg.step, msg.data = "bgr8", 200, array.array("B", padded.tobytes())
    assert np.array_equal(convert.rgb(msg), COLOR)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"encoding": "rgb16"}, "did you mean"),
        ({"height": 480}, "holds 9216 bytes"),
        ({"step": 10}, "row step 10"),
    ],
)
def test_broken_images_are_refused(change: dict[str, object], text: str) -> None:
    msg = convert.rgb_image_msg(COLOR, "cam", 0)
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(DataError, match=text):
        convert.rgb(msg)


def test_image_conversion_is_fast() -> None:
    big = np.zeros((480, 640, 3), np.uint8)
    best = min(_seconds(lambda: convert.rgb_image_msg(big, "cam", 0)) for _ in range(10))
    assert best < 0.002, "a list, memoryview or numpy array in the setter costs 50 to 160 ms"


def test_camera_frame_needs_agreement() -> None:
    info = convert.camera_info_msg(MODEL, "cam", 5)
    color = convert.rgb_image_msg(COLOR, "cam", 5)
    depth = convert.depth_image_msg(DEPTH, "cam", 5)
    frame = convert.camera_frame(color, depth, info)
    assert frame.model == MODEL
    assert frame.stamp_ns == 5
    small = convert.depth_image_msg(DEPTH[:24], "cam", 5)
    with pytest.raises(DataError, match="depth image is 64x24 but its CameraInfo says 64x48"):
        convert.camera_frame(color, small, info)
    with pytest.raises(DataError, match="frame 'other'"):
        convert.camera_frame(color, convert.depth_image_msg(DEPTH, "other", 5), info)
    with pytest.raises(DataError, match="different stamps"):
        convert.camera_frame(convert.rgb_image_msg(COLOR, "cam", 6), depth, info)
    info.k[0] = 0.0
    with pytest.raises(DataError, match="not calibrated"):
        convert.camera_model(info)


def test_cloud_round_trip_and_faults() -> None:
    xyz = RNG.normal(size=(1000, 3)).astype(np.float32)
    xyz[3] = np.nan
    rgb = RNG.integers(0, 256, (1000, 3), dtype=np.uint8)
    msg = convert.cloud_msg(PointCloud(xyz, rgb, "base_link", 7))
    assert not msg.is_dense
    back = convert.cloud(msg)
    assert np.array_equal(back.xyz, xyz, equal_nan=True)
    assert np.array_equal(back.rgb, rgb)
    assert (back.frame_id, back.stamp_ns) == ("base_link", 7)
    assert len(convert.cloud(convert.cloud_msg(PointCloud(xyz[:0], rgb[:0], "base_link")))) == 0
    with pytest.raises(CloudError, match="lacks the fields"):
        convert.cloud(PointCloud2())
    msg.width = 2000
    with pytest.raises(CloudError, match="holds 16000 bytes"):
        convert.cloud(msg)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_pose_round_trip(q: list[float], t: list[float]) -> None:
    T = geometry.from_rt(geometry.matrix_from_quat(q), t)
    assert np.allclose(convert.pose_matrix(convert.pose_msg(T)), T, atol=1e-12)
    assert np.allclose(convert.transform_matrix(convert.transform_msg(T, "a", "b", 0).transform), T, atol=1e-12)


def test_bad_poses_are_refused() -> None:
    msg = convert.pose_msg(np.eye(4))
    msg.orientation.w = 0.0
    with pytest.raises(DataError, match="no direction"):
        convert.pose_matrix(msg)
    msg.position.x = float("nan")
    with pytest.raises(DataError, match="finite"):
        convert.pose_matrix(msg)


def test_grasps_round_trip() -> None:
    T = geometry.from_rt(geometry.rot_x(2.0), [0.5, 0.1, 0.2])
    grasps = GraspSet(
        (Grasp(T, 0.04, 0.9, np.array([0.5, 0.1, 0.1]), 3), Grasp(T, 0.05, 0.2, np.zeros(3), -1, "collision")),
        "base_link",
        12,
        stage_ms=(("network", 120.0),),
    )
    back = convert.grasp_set(convert.grasp_array_msg(grasps))
    assert (back.frame_id, back.stamp_ns, back.stage_ms) == ("base_link", 12, (("network", 120.0),))
    assert len(back.executable) == 1
    assert back.grasps[1].rejection == "collision"
    assert np.allclose(back.grasps[0].T_base_grasp, T)


def test_trajectory_round_trip_reorders_joints() -> None:
    t = np.array([0.0, 0.1, 0.25])
    q = RNG.normal(size=(3, 2))
    msg = convert.trajectory_msg(Trajectory(t, q, q * 2, q * 3), ["a", "b"])
    path = convert.joint_path(msg, ["b", "a"])
    assert np.allclose(path.t_s, t)
    assert np.allclose(path.q, q[:, ::-1])
    assert path.ddq is not None
    assert np.allclose(path.ddq, q[:, ::-1] * 3)


@pytest.mark.parametrize(
    ("points", "text"),
    [
        ([], "no points"),
        ([([0.0], 0)], "1 positions for 2 joints"),
        ([([0.0, float("nan")], 0)], "position nan for joint 'b'"),
        ([([0.0, 0.0], 1), ([0.0, 0.0], 1)], "point 1 has time_from_start 1.0000"),
        ([([], 1)], "no positions"),
    ],
)
def test_broken_trajectories_are_refused(points: list[tuple[list[float], int]], text: str) -> None:
    msg = JointTrajectory(joint_names=["a", "b"])
    for positions, sec in points:
        point = JointTrajectoryPoint(positions=positions)
        point.time_from_start.sec = sec
        msg.points.append(point)
    with pytest.raises(DataError, match=text):
        convert.joint_path(msg, ["a", "b"])


def test_joint_state_lengths() -> None:
    msg = convert.joint_state_msg(["a"], np.array([1.0]), None, None, 3)
    assert convert.positions_by_name(msg) == {"a": 1.0}
    msg.name = ["a", "b"]
    with pytest.raises(DataError, match="names 2 joints"):
        convert.positions_by_name(msg)


def test_big_endian_depth() -> None:
    raw = np.arange(12, dtype=">u2").reshape(3, 4)
    msg = Image(height=3, width=4, encoding="16UC1", is_bigendian=1, step=8)
    msg.data = array.array("B", raw.tobytes())
    assert np.allclose(convert.depth_m(msg), np.arange(12).reshape(3, 4) * 0.001)


def _seconds(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start
