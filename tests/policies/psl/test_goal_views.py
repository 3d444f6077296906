"""Entropies have analytic values; selection and draws do not depend on the machine or process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.goal_cache import GoalViews, load_goal_views, read_array, save_goal_views
from sinew_policies.psl.goal_views import draw_view, select_views, view_entropy
from sinew_policies.psl.reward import heading


def _npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 12


def test_a_view_that_is_equally_like_all_prompts_has_entropy_one_and_a_clear_one_zero() -> None:
    prompts = np.eye(6)
    assert view_entropy(np.ones(6), prompts) == pytest.approx(1.0)
    assert view_entropy(prompts[2], prompts) < 1e-9
    assert view_entropy(prompts[2], prompts, tau=0.0) == pytest.approx(1.0)


def test_two_prompts_give_the_binary_entropy() -> None:
    tau, cosines = 3.0, np.array([0.6, 0.8])
    p = np.exp(tau * cosines) / np.exp(tau * cosines).sum()
    expected = -(p * np.log2(p)).sum()
    assert view_entropy(cosines, np.eye(2), tau) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 200.0))
def test_entropy_lies_in_0_to_1_and_ignores_length_and_order(seed: int, tau: float) -> None:
    draw = np.random.default_rng(seed)
    views, prompts = draw.normal(size=(3, 10, 8)), draw.normal(size=(6, 8))
    h = view_entropy(views, prompts, tau)
    assert h.shape == (3, 10)
    assert ((h >= 0.0) & (h <= 1.0)).all()
    np.testing.assert_allclose(view_entropy(7.0 * views, prompts[::-1] * 0.1, tau), h, atol=1e-9)


def test_the_k_lowest_are_kept_and_ties_keep_their_order() -> None:
    assert select_views([0.5, 0.1, 0.5, 0.9, 0.1], 3).tolist() == [1, 4, 0]
    assert select_views(np.zeros((2, 10))).tolist() == [[0, 1, 2, 3]] * 2


def test_a_cache_keeps_the_clearest_candidates_with_their_angles() -> None:
    draw = np.random.default_rng(0)
    e = draw.normal(size=(600, 10, 8)).astype(np.float16)  # more episodes than are compared at once
    angles = draw.normal(size=(600, 10, 2)).astype(np.float32)
    prompts = draw.normal(size=(6, 8))
    kept = GoalViews(e, angles).clearest(prompts)
    h = view_entropy(e, prompts)
    for i in (0, 255, 256, 599):
        best = np.argsort(h[i])[:4]
        np.testing.assert_array_equal(kept.embeddings[i], e[i, best])
        np.testing.assert_array_equal(kept.angles_rad[i], angles[i, best])
    assert view_entropy(kept.embeddings, prompts).mean() < h.mean()


def test_draws_are_the_same_in_every_process_and_cover_the_selection() -> None:
    ours = [draw_view([3, 5, 7, 9], "scene_12", seed=4, visit=v) for v in range(20)]
    code = (
        "from sinew_policies.psl.goal_views import draw_view;"
        "print([draw_view([3, 5, 7, 9], 'scene_12', seed=4, visit=v) for v in range(20)])"
    )
    theirs = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert theirs.stdout.strip() == str(ours)
    assert set(ours) == {3, 5, 7, 9}
    assert ours != [draw_view([3, 5, 7, 9], "scene_13", seed=4, visit=v) for v in range(20)]


@pytest.mark.parametrize(
    ("views", "prompts", "tau", "message"),
    [
        (np.ones(4), np.ones((1, 4)), 1.0, "at least 2 prompts"),
        (np.ones(4), np.eye(3), 1.0, "width 4, prompts 3"),
        (np.zeros(3), np.eye(3), 1.0, "goal views: vector 0 is zero or not finite"),
        (np.array([[1.0, 0, 0], [np.nan, 0, 0]]), np.eye(3), 1.0, "vector 1 is zero or not finite"),
        (np.ones(3), np.eye(3), -1.0, "tau is -1.0; expected a finite number"),
    ],
)
def test_unusable_embeddings_are_named(views: np.ndarray, prompts: np.ndarray, tau: float, message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message):
        view_entropy(views, prompts, tau)


def test_more_views_than_candidates_are_refused() -> None:
    with pytest.raises(ConfigError, match="k is 4, but each episode has 3 views"):
        select_views([0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="finite"):
        select_views([0.1, np.nan], 1)


def test_the_cache_returns_what_was_written_and_refuses_damage(tmp_path: Path) -> None:
    views = GoalViews(np.full((3, 4, 8), 0.5, np.float16), np.full((3, 4, 2), 0.25, np.float32))
    save_goal_views(tmp_path, "TEEsavR23oF", views)
    read = load_goal_views(tmp_path, "TEEsavR23oF")
    np.testing.assert_array_equal(read.embeddings, views.embeddings)
    np.testing.assert_array_equal(read.angles_rad, views.angles_rad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["TEEsavR23oF.angle.npy", "TEEsavR23oF.npy"]
    file = tmp_path / "TEEsavR23oF.npy"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"TEEsavR23oF.npy is not a whole numeric .npy file"):
        load_goal_views(tmp_path, "TEEsavR23oF")
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(DataError, match="Pickled objects are never read"):
        load_goal_views(tmp_path, "TEEsavR23oF")
    with pytest.raises(DataError, match="does not exist"):
        load_goal_views(tmp_path, "other")
    with pytest.raises(DataError, match=r"goal angles have shape \(3, 3, 2\); expected \(3, 4, 2\)"):
        GoalViews(views.embeddings, views.angles_rad[:, :3])


@pytest.mark.parametrize(
    "content",
    [
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-9223372036854775809,), }"),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,), }"),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }"),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }"),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,), }"),
        _npy("{'descr': '<f4', 'shape': (3"),
        _npy("(" * 5000),
        b"PK\x03\x04junk",
        b"",
    ],
)
def test_a_damaged_array_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "goals.npy"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"goals\.npy is not a whole numeric \.npy file"):
        read_array(file)


def test_a_goal_rotation_turns_first_and_pitches_then() -> None:
    views = GoalViews(np.ones((1, 1, 2), np.float16), np.array([[[np.pi / 2, 0.7]]], np.float32))
    np.testing.assert_allclose(heading(views.rotation(0, 0)), [-1.0, 0.0], atol=1e-6)  # a left turn looks along -x
