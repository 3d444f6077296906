"""What is forbidden after a failure, for how long, and what is only put behind."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sinew_nodes.task.failed_grasps import FailedGrasps, FailedGraspsConfig
from sinew_policies.common.geometry import rot_z
from sinew_policies.common.types import Grasp


def grasp(x_m: float, roll_rad: float = 0.0) -> Grasp:
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[:3, :3] = T[:3, :3] @ rot_z(roll_rad)
    T[0, 3] = x_m
    return Grasp(T, 0.03, 0.9, np.array([x_m, 0.0, 0.02]))


def failed(x_m: float = 0.5, roll_rad: float = 0.0, attempt: int = 4) -> FailedGrasps:
    memory = FailedGrasps(FailedGraspsConfig())
    memory.add(grasp(x_m, roll_rad), attempt)
    return memory


@given(roll_rad=st.floats(-3.0, 3.0))
def test_a_half_turn_of_the_hand_is_the_same_grasp(roll_rad: float) -> None:
    memory = failed(roll_rad=roll_rad)
    assert memory.forbid(grasp(0.5, roll_rad), 5)
    assert memory.forbid(grasp(0.5, roll_rad + np.pi), 5)
    assert not memory.forbid(grasp(0.5, roll_rad + np.pi / 2), 5)


def test_a_failure_is_forgotten_but_its_place_still_comes_last() -> None:
    memory = failed(attempt=4)
    assert memory.forbid(grasp(0.514), 7)
    assert not memory.forbid(grasp(0.516), 7)
    assert not memory.forbid(grasp(0.5), 8)
    assert memory.near(grasp(0.539)) == 1
    assert memory.near(grasp(0.541)) == 0
