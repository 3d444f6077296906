"""How far a grasp is drawn back from the table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.jaw import (
    MAX_RETREAT_M,
    TABLE_CLEARANCE_M,
    clear_all_of_table,
    clear_of_table,
    fingertip_corners,
    opening_for,
)


def _random_grasps(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (n, 1, 1))
    for i in range(n):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        T[i, :3, :3] = q * np.sign(np.linalg.det(q))
    T[:, 2, 3] = rng.uniform(0.0, 0.16, n)
    return T, rng.uniform(0.0, 0.08, n)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_moves_only_back_only_when_needed_and_never_too_far(seed: int) -> None:
    T, width = _random_grasps(seed, 40)
    moved = clear_all_of_table(T, width)
    assert np.array_equal(moved[:, :3, :3], T[:, :3, :3])
    shift = moved[:, :3, 3] - T[:, :3, 3]
    back = -np.einsum("ij,ij->i", shift, T[:, :3, 2])
    assert np.allclose(shift, -back[:, None] * T[:, :3, 2])
    assert (back >= 0.0).all()
    assert (back <= MAX_RETREAT_M + 1e-12).all()
    for i in range(len(T)):
        tips = fingertip_corners(opening_for(width[i]))
        before = (tips @ T[i, :3, :3].T + T[i, :3, 3])[:, 2].min()
        after = (tips @ moved[i, :3, :3].T + moved[i, :3, 3])[:, 2].min()
        if before >= TABLE_CLEARANCE_M or T[i, 2, 2] > -0.1:
            assert back[i] == 0.0
        elif back[i] < MAX_RETREAT_M - 1e-12:
            assert after == pytest.approx(TABLE_CLEARANCE_M, abs=1e-9)
        else:
            assert before < after <= TABLE_CLEARANCE_M + 1e-9
        assert np.array_equal(clear_of_table(T[i], width[i]), moved[i])


def test_hand_opens_wider_than_the_contacts_up_to_its_travel() -> None:
    assert opening_for(0.02) == pytest.approx(0.05)
    assert opening_for(0.07) == 0.08
