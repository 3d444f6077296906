"""Frames: chains, interpolation, the error classes of TF2Error, late static subscribers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_nodes.tf import (
    ConnectivityError,
    ExtrapolationError,
    InvalidArgument,
    LookupFailed,
    TransformBuffer,
)
from sinew_policies.common import geometry
from sinew_policies.common.types import F64

S = 1_000_000_000


def pose(x: float, yaw: float = 0.0) -> F64:
    return geometry.from_rt(geometry.rot_z(yaw), [x, 0.0, 0.0])


def test_tf2_error_codes() -> None:
    from tf2_msgs.msg import TF2Error

    assert LookupFailed.code == TF2Error.LOOKUP_ERROR
    assert ConnectivityError.code == TF2Error.CONNECTIVITY_ERROR
    assert ExtrapolationError.code == TF2Error.EXTRAPOLATION_ERROR
    assert InvalidArgument.code == TF2Error.INVALID_ARGUMENT_ERROR


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2))
def test_lookup_composes_over_the_common_ancestor(yaw_a: float, yaw_b: float, x: float) -> None:
    buffer = TransformBuffer()
    T_root_a, T_a_b, T_root_c = pose(x, yaw_a), pose(0.3, yaw_b), pose(-x, 1.0)
    buffer.put("root", "a", T_root_a, S)
    buffer.put("a", "b", T_a_b, 0, static=True)
    buffer.put("root", "c", T_root_c, S)
    expected = geometry.inverse(T_root_c) @ T_root_a @ T_a_b
    assert np.allclose(buffer.lookup("c", "b", S), expected)
    assert np.allclose(buffer.lookup("b", "c", 0), geometry.inverse(expected))
    assert np.allclose(buffer.lookup("a", "a"), np.eye(4))


def test_interpolation_between_samples() -> None:
    buffer = TransformBuffer()
    buffer.put("root", "a", pose(0.0, 0.0), S)
    buffer.put("root", "a", pose(1.0, 1.0), 2 * S)
    assert np.allclose(buffer.lookup("root", "a", S + S // 4), pose(0.25, 0.25))
    # a message that arrives late is sorted in
    buffer.put("root", "a", pose(0.0, 0.0), S + S // 2)
    assert np.allclose(buffer.lookup("root", "a", S + 3 * S // 4), pose(0.5, 0.5))


def test_errors_name_what_is_wrong() -> None:
    buffer = TransformBuffer()
    buffer.put("root", "camera", pose(0.0), S)
    buffer.put("island", "rock", pose(0.0), S)
    with pytest.raises(LookupFailed, match=r"frame 'camra' is unknown.*did you mean 'camera'"):
        buffer.lookup("root", "camra")
    with pytest.raises(ConnectivityError, match="trees of 'root' and 'island'"):
        buffer.lookup("camera", "rock")
    with pytest.raises(ExtrapolationError, match=r"1\.000 s after the newest"):
        buffer.lookup("root", "camera", 2 * S)
    with pytest.raises(ExtrapolationError, match="before the oldest"):
        buffer.lookup("root", "camera", S // 2)
    with pytest.raises(InvalidArgument, match="its own parent"):
        buffer.put("a", "/a", pose(0.0), 0)
    with pytest.raises(InvalidArgument, match="not finite"):
        buffer.put("a", "b", np.full((4, 4), np.nan), 0)


def test_a_loop_is_an_error_not_a_hang() -> None:
    buffer = TransformBuffer()
    buffer.put("a", "b", pose(0.0), S)
    buffer.put("b", "a", pose(0.0), S)
    with pytest.raises(ConnectivityError, match="loop"):
        buffer.lookup("a", "b")


def test_history_is_bounded_and_time_may_go_back() -> None:
    buffer = TransformBuffer(history_s=1.0)
    for i in range(500):
        buffer.put("root", "a", pose(i), i * S // 100)
    with pytest.raises(ExtrapolationError):
        buffer.lookup("root", "a", S)
    assert np.allclose(buffer.lookup("root", "a", 4 * S), pose(400))
    buffer.put("root", "a", pose(7.0), S)  # simulated time was reset
    assert np.allclose(buffer.lookup("root", "a"), pose(7.0))


def test_waiting_lookup_returns_when_the_transform_arrives() -> None:
    import threading

    buffer = TransformBuffer()
    timer = threading.Timer(0.05, lambda: buffer.put("root", "a", pose(3.0), S))
    timer.start()
    assert np.allclose(buffer.lookup("root", "a", S, timeout_s=5.0), pose(3.0))
    timer.join()
    assert not buffer.can_transform("root", "nothing", 0, timeout_s=0.01)
