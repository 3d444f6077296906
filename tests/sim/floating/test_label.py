"""The physics test of a grasp tells good ones from each kind of bad one."""

import numpy as np
import pytest

from sinew_sim.floating.frames import grasp_poses
from sinew_sim.floating.label import GraspTester, LabelSettings, Outcome, gravity_schedule


def _grasp(
    middle: tuple[float, float, float], approach: tuple[float, float, float] = (0.0, 0.0, -1.0), width: float = 0.04
) -> np.ndarray:
    """Closes along x around `middle`."""
    contact = np.array([[middle[0] - width / 2, middle[1], middle[2]]])
    return grasp_poses(contact, np.array([[1.0, 0.0, 0.0]]), np.array([approach]), np.array([width]))[0]


def test_centred_grasp_holds(make_box) -> None:
    assert GraspTester(make_box()).test(_grasp((0.0, 0.0, 0.03)), 0.07) is Outcome.HELD


def test_hand_in_the_object_collides(make_box) -> None:
    tester = GraspTester(make_box())
    assert tester.test(_grasp((0.0, 0.0, -0.03)), 0.07) is Outcome.COLLISION  # the palm is in the box
    assert tester.test(_grasp((0.0, 0.0, 0.03)), 0.03) is Outcome.COLLISION  # not open enough


def test_fingers_beside_the_object_miss(make_box) -> None:
    assert GraspTester(make_box()).test(_grasp((0.0, 0.0, 0.08)), 0.07) is Outcome.MISSED


def test_slippery_pads_drop(make_box) -> None:
    tester = GraspTester(make_box(mass_kg=0.5), LabelSettings(pad_friction=0.05))
    assert tester.test(_grasp((0.0, 0.0, 0.03)), 0.07) is Outcome.DROPPED


def test_light_grip_drops_a_heavy_object_that_a_firm_one_holds(make_box) -> None:
    heavy = make_box(mass_kg=1.2)
    assert GraspTester(heavy, LabelSettings(force_n=60.0)).test(_grasp((0.0, 0.0, 0.015)), 0.07) is Outcome.HELD
    assert GraspTester(heavy, LabelSettings(force_n=12.0)).test(_grasp((0.0, 0.0, 0.015)), 0.07) is Outcome.DROPPED


def test_repeating_a_test_repeats_its_result(make_box) -> None:
    tester = GraspTester(make_box(mass_kg=0.8), LabelSettings(force_n=12.0))
    poses = [_grasp((0.0, y, 0.03)) for y in (-0.02, 0.0, 0.02)]
    first = [tester.test(T, 0.07) for T in poses]
    assert [tester.test(T, 0.07) for T in poses] == first


def test_apparent_gravity_starts_at_zero_and_shakes_by_at_least_twice_g() -> None:
    g = gravity_schedule(0.8, 0.01)
    assert np.allclose(g[0], 0.0)
    assert np.linalg.norm(g, axis=1).max() == pytest.approx(2 * 9.81, rel=0.15)
    assert np.abs(np.diff(g, axis=0)).max() < 4.0  # smooth: no step that would throw an object
