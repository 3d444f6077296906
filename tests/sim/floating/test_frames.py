"""Grasp frames: orthonormal, through their contacts, and turned as asked."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.geometry import HAND_DEPTH_M
from sinew_sim.floating.frames import grasp_poses, hand_poses, orthogonal_unit, rotate_about

_seeds = st.integers(0, 2**32 - 1)


def _units(rng: np.random.Generator, n: int) -> np.ndarray:
    v = rng.normal(size=(n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(_seeds)
def test_pose_holds_both_contacts_at_pad_depth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    contact, d = rng.normal(size=(8, 3)), _units(rng, 8)
    width = rng.uniform(0.005, 0.08, 8)
    T = grasp_poses(contact, d, orthogonal_unit(d, _units(rng, 8)), width)
    assert np.allclose(np.swapaxes(T[:, :3, :3], 1, 2) @ T[:, :3, :3], np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(T[:, :3, :3]), 1.0)
    for sign, at in ((-1.0, contact), (1.0, contact + width[:, None] * d)):
        local = np.stack([sign * width / 2, np.zeros(8), np.full(8, HAND_DEPTH_M), np.ones(8)], axis=1)
        assert np.allclose(np.einsum("nij,nj->ni", T, local)[:, :3], at, atol=1e-9)
    hand = hand_poses(T)
    assert np.allclose(hand[:, :3, 2], T[:, :3, 2])
    assert np.allclose(np.abs(np.einsum("ni,ni->n", hand[:, :3, 1], d)), 1.0)


@settings(max_examples=30, deadline=None)
@given(_seeds)
def test_orthogonal_unit_is_the_nearest_orthogonal_direction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d, wish = _units(rng, 20), _units(rng, 20)
    out = orthogonal_unit(d, wish)
    assert np.allclose(np.einsum("ij,ij->i", out, d), 0.0, atol=1e-9)
    other = rotate_about(d, out, rng.uniform(-3.0, 3.0, 20))
    assert (np.einsum("ij,ij->i", other, wish) <= np.einsum("ij,ij->i", out, wish) + 1e-9).all()


def test_orthogonal_unit_survives_parallel_input() -> None:
    d = np.eye(3)
    out = orthogonal_unit(d, d.copy())
    assert np.allclose(np.linalg.norm(out, axis=1), 1.0)
    assert np.allclose(np.einsum("ij,ij->i", out, d), 0.0)
