"""Interpolation, the checks before a motion and the controller's bookkeeping, without ROS."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_hardware.models.panda import HOME_Q, JOINT_NAMES, LIMITS
from sinew_nodes.trajectory.checks import check_limits, check_smooth, check_start
from sinew_nodes.trajectory.controller import Goal, Outcome, Tolerances, TrajectoryController
from sinew_nodes.trajectory.path import JointPath, JointSample, Motion
from sinew_policies.common.errors import CommandRejected
from sinew_policies.common.types import F64

ZERO = np.zeros(7)
REST = JointSample(HOME_Q, ZERO, ZERO)
TOL = Tolerances(np.full(7, 0.1), np.full(7, 0.01), np.full(7, np.inf), np.full(7, np.inf), 0.2)


def one_point(delta: float, t_s: float) -> JointPath:
    return JointPath(np.array([t_s]), (HOME_Q + delta)[None])


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(0.5, 5.0), st.floats(-0.2, 0.2))
def test_a_motion_begins_as_the_arm_moves_and_ends_at_rest(delta: float, t_s: float, speed: float) -> None:
    start = JointSample(HOME_Q, np.full(7, speed), ZERO)
    motion = Motion(one_point(delta, t_s), start)
    first, last = motion.at(0.0), motion.at(t_s + 1.0)
    assert np.allclose(first.q, HOME_Q)
    assert np.allclose(first.dq, speed)
    assert np.allclose(last.q, HOME_Q + delta)
    assert not last.dq.any()


@pytest.mark.parametrize("derivatives", [1, 2, 3])
def test_points_are_met_and_a_sine_is_reproduced_the_better_the_more_is_known(derivatives: int) -> None:
    t = np.linspace(0.0, np.pi, 12)
    q, dq, ddq = (np.outer(f(t), np.ones(7)) for f in (lambda x: -np.cos(x), np.sin, np.cos))
    path = JointPath(t, q, dq if derivatives > 1 else None, ddq if derivatives > 2 else None)
    motion = Motion(path, JointSample(q[0], dq[0], ddq[0]))
    assert max(np.abs(motion.at(x).q - p).max() for x, p in zip(t, q, strict=True)) < 1e-9
    fine = np.linspace(0.0, np.pi, 200)
    error = max(abs(motion.at(x).q[0] + np.cos(x)) for x in fine)
    assert error < (3e-3, 3e-4, 1e-6)[derivatives - 1]


def test_what_the_planner_was_wrong_by_fades_out_instead_of_jumping() -> None:
    t = np.linspace(0.0, 1.0, 101)
    rest = np.tile(HOME_Q, (101, 1))
    start = JointSample(HOME_Q + 0.02, ZERO, ZERO)
    motion = Motion(JointPath(t, rest, 0 * rest, 0 * rest), start)
    _, q, dq, ddq = motion.sampled(0.001)
    assert np.allclose(q[0], start.q)
    assert np.allclose(motion.at(0.5).q, HOME_Q)
    assert np.abs(dq).max() < 0.2
    assert np.abs(np.diff(q, axis=0) / 0.001 - dq[1:]).max() < 5e-3
    assert np.abs(ddq).max() < 2.0


@pytest.mark.parametrize(
    ("path", "reason", "text"),
    [
        (one_point(3.0, 20.0), "position", "would be at"),
        (one_point(0.5, 0.1), "velocity", "rad/s at"),
        (JointPath(np.array([1.0]), (HOME_Q + 0.1)[None], np.full((1, 7), 0.3)), "end", "must end at rest"),
    ],
)
def test_limits_are_checked_with_joint_value_and_time(path: JointPath, reason: str, text: str) -> None:
    with pytest.raises(CommandRejected, match=text) as caught:
        check_limits(Motion(path, REST), path, LIMITS, JOINT_NAMES, 0.01)
    assert caught.value.reason == reason
    assert "panda_joint" in str(caught.value)


def test_a_first_point_elsewhere_is_refused_only_when_due_at_once() -> None:
    wrong = JointPath(np.array([0.0, 1.0]), np.stack([HOME_Q + 0.2, HOME_Q]))
    with pytest.raises(CommandRejected, match="off by"):
        check_start(wrong, REST, JOINT_NAMES, 0.05)
    check_start(JointPath(wrong.t_s + 1.0, wrong.q), REST, JOINT_NAMES, 0.05)


def test_motions_that_the_gate_would_bend_for_long_are_refused() -> None:
    t = np.arange(0.0, 2.0, 0.02)
    shake = 0.02 * np.sin(40.0 * t)[:, None] * np.ones(7)  # 32 rad/s² is far beyond any joint
    path = JointPath(t[1:], (HOME_Q + shake)[1:])
    with pytest.raises(CommandRejected, match="cannot follow"):
        check_smooth(Motion(path, REST), REST, LIMITS, JOINT_NAMES, 0.01)
    check_smooth(Motion(one_point(0.5, 2.0), REST), REST, LIMITS, JOINT_NAMES, 0.01)


class Runner:
    """Feeds a controller as the loop does; the arm lags by `lag`."""

    def __init__(self) -> None:
        self.controller = TrajectoryController(JOINT_NAMES)
        self.q: F64 = HOME_Q.copy()
        self.ends: list[tuple[Outcome, str]] = []

    def goal(self, delta: float, t_s: float) -> Goal:
        motion = Motion(one_point(delta, t_s), self.controller.reference(self.q))
        return Goal(motion, TOL, lambda outcome, why: self.ends.append((outcome, why)))

    def tick(self, n: int, *, blocked: bool = False) -> None:
        for _ in range(n):
            wanted = self.controller.tick(0.01, self.q, ZERO)
            if wanted is not None and not blocked:
                self.q = wanted.q
            self.controller.sent(self.q, 0.01, altered=wanted is None, at_rest=wanted is None)


def test_goals_end_done_preempted_or_by_tolerance_with_signed_errors() -> None:
    run = Runner()
    run.controller.submit(run.goal(0.2, 1.0))
    assert run.controller.mode == "trajectory"
    run.tick(50)
    run.controller.submit(run.goal(0.3, 1.0))
    assert run.ends == [(Outcome.PREEMPTED, "a newer goal took over")]
    run.tick(105)
    assert run.ends[-1][0] is Outcome.DONE
    assert np.allclose(run.q, HOME_Q + 0.3)

    run.controller.submit(run.goal(0.35, 1.0))  # 0.05 rad further, while the arm does not move
    run.tick(150, blocked=True)
    outcome, why = run.ends[-1]
    assert outcome is Outcome.GOAL_TOLERANCE
    assert "off by +0.0500 rad" in why
    assert "panda_joint7 +0.0500" in why

    run.controller.submit(run.goal(-0.5, 1.0))
    run.tick(150, blocked=True)
    outcome, why = run.ends[-1]
    assert outcome is Outcome.PATH_TOLERANCE
    assert "is off by -0." in why


def test_a_cancelled_goal_ends_only_when_the_arm_rests() -> None:
    run = Runner()
    goal = run.goal(0.5, 2.0)
    run.controller.submit(goal)
    run.tick(50)
    run.controller.cancel(goal)
    assert run.controller.tick(0.01, run.q, ZERO) is None
    run.controller.sent(run.q + 0.001, 0.01, altered=True, at_rest=False)
    assert run.ends == []
    run.controller.sent(run.q + 0.001, 0.01, altered=True, at_rest=True)
    assert run.ends[0][0] is Outcome.CANCELED
    assert run.controller.mode == "idle"
