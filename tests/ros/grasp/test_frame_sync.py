"""Which frame the network gets: complete, newest, not older than asked for."""

import threading

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from sinew_nodes import convert
from sinew_nodes.grasp.frame_sync import FrameSync
from sinew_policies.common.errors import DataError
from sinew_policies.common.types import CameraModel

MODEL = CameraModel(8, 6, 10.0, 10.0, 3.5, 2.5)


def _parts(stamp: int, model: CameraModel = MODEL) -> tuple[Image, Image, CameraInfo]:
    color = np.zeros((6, 8, 3), np.uint8)
    depth = np.full((6, 8), 0.5, np.float32)
    return (
        convert.rgb_image_msg(color, "optical", stamp),
        convert.depth_image_msg(depth, "optical", stamp),
        convert.camera_info_msg(model, "optical", stamp),
    )


def _feed(sync: FrameSync, stamp: int) -> None:
    color, depth, info = _parts(stamp)
    sync.color(color)
    sync.info(info)
    sync.depth(depth)


def test_an_incomplete_frame_is_not_given_out() -> None:
    sync = FrameSync()
    color, depth, _ = _parts(5)
    sync.color(color)
    sync.depth(depth)
    assert sync.wait(0, 0.0) is None
    _feed(sync, 6)
    frame = sync.wait(0, 0.0)
    assert frame is not None
    assert frame.stamp_ns == 6


def test_the_newest_wins_and_replaced_ones_are_counted() -> None:
    sync = FrameSync()
    for stamp in (10, 20, 30):
        _feed(sync, stamp)
    frame = sync.wait(0, 0.0)
    assert frame is not None
    assert frame.stamp_ns == 30
    assert sync.dropped == 2


def test_a_frame_from_before_the_request_is_not_enough() -> None:
    sync = FrameSync()
    _feed(sync, 10)
    assert sync.wait(11, 0.0) is None
    later = threading.Timer(0.02, _feed, (sync, 12))
    later.start()
    frame = sync.wait(11, 5.0)
    later.join()
    assert frame is not None
    assert frame.stamp_ns == 12


def test_simulated_time_that_goes_back_starts_afresh() -> None:
    sync = FrameSync()
    _feed(sync, 100_000_000_000)
    _feed(sync, 1_000_000_000)
    frame = sync.wait(0, 0.0)
    assert frame is not None
    assert frame.stamp_ns == 1_000_000_000


def test_camera_info_of_another_size_is_a_fault_that_names_both_sizes() -> None:
    sync = FrameSync()
    color, depth, _ = _parts(7)
    _, _, info = _parts(7, CameraModel(16, 12, 10.0, 10.0, 7.5, 5.5))
    for part, message in ((sync.color, color), (sync.depth, depth), (sync.info, info)):
        part(message)
    with pytest.raises(DataError, match="16x12"):
        sync.wait(0, 0.0)
