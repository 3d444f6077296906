"""Timing keeps every finite difference inside the limits, starts and ends at rest and visits the ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_hardware.models.panda import HOME_Q, LIMITS
from sinew_hardware.planning.stream import JointStream, stop_trajectory
from sinew_hardware.planning.trajectory import peaks, sample, time_parameterise
from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64


def _path(seed: int, points: int, size: float) -> F64:
    rng = stream(seed, "path")
    middle = (LIMITS.lower + LIMITS.upper) / 2.0
    half = (LIMITS.upper - LIMITS.lower) / 2.0
    return middle + rng.uniform(-1.0, 1.0, (points, 7)) * half * size


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    points=st.integers(1, 6),
    size=st.sampled_from([1e-6, 1e-3, 0.05, 0.5, 1.0]),
    scale=st.floats(0.05, 1.0),
    stops=st.booleans(),
)
def test_differences_stay_inside_the_scaled_limits(
    seed: int, points: int, size: float, scale: float, stops: bool
) -> None:
    path = _path(seed, points, size)
    trajectory = time_parameterise(path, scale=scale, stop_at_corners=stops)
    assert peaks(trajectory.q).worst <= scale * (1.0 + 1e-9)
    assert np.array_equal(trajectory.q[0], path[0])
    assert np.array_equal(trajectory.q[-1], path[-1])
    np.testing.assert_allclose(np.diff(trajectory.t_s), 0.01)
    for values in (trajectory.dq, trajectory.ddq):
        assert not values[0].any()
        assert not values[-1].any()
    assert np.all((trajectory.q >= LIMITS.lower - 1e-9) & (trajectory.q <= LIMITS.upper + 1e-9))


def test_a_single_segment_stays_on_its_line_and_is_nearly_as_fast_as_possible() -> None:
    a, b = HOME_Q, np.add(HOME_Q, [1.0, 0.5, -0.5, 0.5, 0.3, 0.2, -0.8])
    trajectory = time_parameterise(np.array([a, b]), scale=1.0)
    u = (trajectory.q - a) @ (b - a) / ((b - a) @ (b - a))
    np.testing.assert_allclose(trajectory.q, a + u[:, None] * (b - a), atol=1e-12)
    assert np.all(np.diff(u) >= -1e-15)
    fastest = max(  # bang-bang acceleration without a jerk limit
        d / v + v / acc if d > v * v / acc else 2.0 * np.sqrt(d / acc)
        for d, v, acc in zip(np.abs(b - a), LIMITS.velocity, LIMITS.acceleration, strict=True)
    )
    assert fastest < trajectory.duration_s < fastest + 0.2


def test_corners_are_rounded_less_when_slower_and_not_at_all_with_stops() -> None:
    path = np.array([HOME_Q, np.add(HOME_Q, [0.8, 0, 0, 0, 0, 0, 0]), np.add(HOME_Q, [0.8, 0.6, 0, 0, 0, 0, 0])])
    gaps = [
        np.min(np.linalg.norm(trajectory.q - path[1], axis=1))
        for trajectory in (
            time_parameterise(path),
            time_parameterise(path, corner_speed=0.5),
            time_parameterise(path, stop_at_corners=True),
        )
    ]
    assert gaps[0] > gaps[1] > gaps[2] == 0.0


def test_sampling_between_the_samples_is_smooth_and_hits_them() -> None:
    trajectory = time_parameterise(_path(3, 4, 0.5))
    for k in (0, 5, 40, len(trajectory.t_s) - 1):
        np.testing.assert_allclose(sample(trajectory, float(trajectory.t_s[k]))[0], trajectory.q[k], atol=1e-12)
    times = np.arange(0.0037, trajectory.duration_s, 0.01)
    off_grid = np.array([trajectory.q[0], *(sample(trajectory, float(t))[0] for t in times)])
    assert peaks(off_grid[1:-1] if len(off_grid) > 2 else off_grid).velocity <= 1.0
    q, dq, ddq = sample(trajectory, trajectory.duration_s + 1.0)
    assert np.array_equal(q, trajectory.q[-1])
    assert not dq.any()
    assert not ddq.any()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (np.zeros((0, 7)), "expected"),
        (np.zeros((2, 6)), r"shape \(2, 6\)"),
        (np.full((2, 7), np.nan), "NaN"),
        (np.array([HOME_Q, np.add(HOME_Q, [0, 0, 0, 3.0, 0, 0, 0])]), "joint 4 is 0.644 rad at point 1"),
    ],
)
def test_bad_paths_are_refused(path: F64, text: str) -> None:
    with pytest.raises(DataError, match=text):
        time_parameterise(path)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_stop_is_inside_the_limits_and_ends_at_rest(seed: int) -> None:
    rng = stream(seed, "stop")
    dq = rng.uniform(-1.0, 1.0, 7) * LIMITS.velocity * 0.9
    ddq = rng.uniform(-1.0, 1.0, 7) * LIMITS.acceleration * 0.2
    stop = stop_trajectory(HOME_Q, dq, ddq)
    np.testing.assert_allclose(stop.q[0], HOME_Q)
    np.testing.assert_allclose(stop.dq[0], dq)
    assert not stop.dq[-1].any()
    assert np.array_equal(stop.q[-1], stop.q[-2])
    v = np.diff(stop.q, axis=0) / 0.01
    a = np.diff(v, axis=0) / 0.01
    j = np.diff(a, axis=0) / 0.01
    for values, limit in ((v, LIMITS.velocity), (a, LIMITS.acceleration), (j, LIMITS.jerk)):
        assert np.all(np.abs(values) <= limit * (1.0 + 1e-6))
    assert stop.duration_s < 0.8


def test_stream_follows_changing_targets_inside_the_limits() -> None:
    rng = stream(0, "stream")
    follower = JointStream(HOME_Q)
    samples = [HOME_Q]
    target = HOME_Q
    for k in range(600):
        if k % 37 == 0:
            target = np.clip(HOME_Q + rng.uniform(-0.5, 0.5, 7), LIMITS.lower, LIMITS.upper)
            follower.set_target(target)
        samples.append(follower.step()[0])
    for _ in range(200):
        samples.append(follower.step()[0])
    assert peaks(np.array(samples)).worst <= 1.0
    np.testing.assert_allclose(samples[-1], target, atol=1e-9)


def test_stream_at_a_velocity_and_bad_targets() -> None:
    follower = JointStream(HOME_Q)
    follower.set_velocity(np.array([0.3, 0, 0, 0, 0, 0, 0]))
    for _ in range(100):
        q, dq, _ = follower.step()
    assert dq[0] == pytest.approx(0.3)
    assert q[0] > 0.2
    with pytest.raises(DataError, match="expected 7 finite numbers"):
        follower.set_target(np.full(7, np.nan))
