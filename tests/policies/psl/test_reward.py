"""The relaxed reward follows its formula and cares for yaw only."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.reward import GoalRelation, RewardConfig, heading, relaxed_reward, yaw_error_rad


def relation(distance_m: float, yaw_error: float) -> GoalRelation:
    return GoalRelation(np.array([distance_m]), np.array([yaw_error]))


@pytest.mark.parametrize(
    ("before", "after", "stopped", "expected"),
    [
        ((3.0, 1.0), (2.75, 0.5), False, 0.25 - 0.01),  # far away only distance counts
        (
            (1.1, 1.0),
            (0.9, 1.0),
            False,
            0.2 + math.pi - 1.0 - 0.01,
        ),  # entering the radius: from pi to the true angle
        ((0.9, 1.0), (1.1, 1.0), False, -0.2 + 1.0 - math.pi - 0.01),  # leaving gives it back
        ((0.9, 1.0), (0.9, 0.4), False, 0.6 - 0.01),
        ((0.9, 1.0), (0.9, 1.0), True, 5.0 - 0.01),  # arrived, looking elsewhere
        ((0.9, 0.2), (0.9, 0.2), True, 10.0 - 0.01),  # arrived and facing
        ((1.0, 0.2), (1.0, 0.2), True, -0.01),  # on the border is not inside
        ((5.0, 0.0), (5.0, 0.0), True, -0.01),
        ((0.9, 0.2), (0.9, 0.2), False, -0.01),  # success needs STOP
    ],
)
def test_hand_computed_steps(
    before: tuple[float, float], after: tuple[float, float], stopped: bool, expected: float
) -> None:
    assert relaxed_reward(relation(*before), relation(*after), [stopped])[0] == pytest.approx(expected)


def test_without_the_pi_option_entry_and_exit_give_no_angle_reward() -> None:
    c = RewardConfig(pi_outside=False)
    assert relaxed_reward(relation(1.1, 1.0), relation(0.9, 0.5), [False], c)[0] == pytest.approx(0.19)
    assert relaxed_reward(relation(0.9, 1.0), relation(0.9, 0.5), [False], c)[0] == pytest.approx(0.49)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, math.pi)), min_size=2, max_size=20),
)
def test_shaping_sums_to_what_the_ends_decide_whatever_the_way(places: list[tuple[float, float]]) -> None:
    c = RewardConfig(slack=0.0)
    way = [relation(*p) for p in places]
    total = sum(relaxed_reward(a, b, [False], c)[0] for a, b in pairwise(way))

    def potential(d: float, angle: float) -> float:
        return d + (angle if d < c.distance_m else math.pi)

    assert total == pytest.approx(potential(*places[0]) - potential(*places[-1]), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(*[st.floats(-3.0, 3.0)] * 2, *[st.floats(-1.5, 1.5)] * 2)
def test_the_error_ignores_pitch(yaw: float, goal_yaw: float, pitch: float, goal_pitch: float) -> None:
    agent = Rotation.from_euler("YX", [yaw, pitch]).as_quat()
    goal = Rotation.from_euler("YX", [goal_yaw, goal_pitch]).as_quat()
    expected = abs((yaw - goal_yaw + math.pi) % (2 * math.pi) - math.pi)
    assert yaw_error_rad(agent, goal) == pytest.approx(expected, abs=1e-6)
    assert yaw_error_rad(-3.0 * agent, goal) == pytest.approx(expected, abs=1e-6)  # length and sign mean nothing


def test_straight_down_still_has_a_heading() -> None:
    down = Rotation.from_euler("YX", [0.8, -math.pi / 2]).as_quat()
    np.testing.assert_allclose(heading(down), [-math.sin(0.8), -math.cos(0.8)], atol=1e-6)


@pytest.mark.parametrize(
    ("quaternion", "message"),
    [
        ([0.0, 0.0, 0.0, 0.0], "zero or not finite"),
        ([0.0, math.nan, 0.0, 1.0], "zero or not finite"),
        ([0.0, 0.0, 1.0], r"shape \(3,\); expected \(..., 4\)"),
    ],
)
def test_unusable_rotations_are_refused(quaternion: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        heading(quaternion)


def test_an_unreachable_goal_has_no_reward() -> None:
    with pytest.raises(
        DataError, match=r"agent 0 is inf m, 0.5 rad from its goal after the step.*drop that episode"
    ):
        relaxed_reward(relation(1.0, 0.5), relation(math.inf, 0.5), [False])
    with pytest.raises(ConfigError, match=r"distance_m is 0\.0; expected metres above 0"):
        RewardConfig(distance_m=0.0)
