"""Episodes, sets and segments: what is cut is what was recorded, and what does not fit is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinew_policies.common.episodes import (
    Episode,
    EpisodeSet,
    Segments,
    cut,
    random_segments,
    whole_episodes,
)
from sinew_policies.common.errors import DataError


def episode(seed: int, steps: int = 12, task: str = "push", o_dim: int = 5, a_dim: int = 2) -> Episode:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(steps + 1, o_dim)).astype(np.float32)
    return Episode(
        task=task,
        observations=states[:-1],
        actions=rng.uniform(-1, 1, (steps, a_dim)).astype(np.float32),
        rewards=rng.normal(size=steps).astype(np.float32),
        successes=rng.random(steps) > 0.5,
        next_observations=states[1:],
        source="expert",
        seed=seed,
    )


def episodes(count: int = 6, **kwargs: int) -> EpisodeSet:
    return EpisodeSet("push", tuple(episode(k, **kwargs) for k in range(count)))


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 100))
def test_a_segment_is_that_part_of_its_episode(count: int, length: int, seed: int) -> None:
    data = episodes()
    places = random_segments(data, count, length, seed)
    found = cut(data, places)
    assert found.observations.shape == (count, length, 5)
    for k in range(count):
        e, s = data.episodes[places.episode_index[k]], places.start[k]
        np.testing.assert_array_equal(found.actions[k], e.actions[s : s + length])
        assert found.success_steps[k] == e.successes[s : s + length].sum()


def test_segments_use_every_episode_before_any_twice() -> None:
    places = random_segments(episodes(6), 6, 4, seed=3)
    assert sorted(places.episode_index) == list(range(6))


def test_whole_episodes_carry_the_sets_own_figures() -> None:
    data = episodes()
    found = cut(data, whole_episodes(data))
    np.testing.assert_array_equal(found.success_steps, data.success_steps)
    np.testing.assert_allclose(found.returns, data.returns, rtol=1e-5)
    np.testing.assert_array_equal(found.subset([4, 1]).actions, found.actions[[4, 1]])


def test_transitions_are_the_episodes_one_after_the_other() -> None:
    data = EpisodeSet("push", (episode(0, steps=3), episode(1, steps=5)))
    flat = data.transitions()
    np.testing.assert_array_equal(flat.ends, [0, 0, 1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(flat.step, [0, 1, 2, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(flat.actions[3:], data.episodes[1].actions)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rewards", np.zeros(11, np.float32), r"rewards has shape \(11,\); expected \(12,\)"),
        ("actions", np.zeros((0, 2), np.float32), "actions have shape"),
        ("observations", np.zeros((12, 0), np.float32), "observations have shape"),
        ("next_observations", np.zeros((12, 4), np.float32), "next_observations has shape"),
        ("actions", np.full((12, 2), np.nan, np.float32), "actions is not finite at step 0"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(field: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(episode(0), **{field: value})


def test_sets_hold_one_task_and_one_layout() -> None:
    with pytest.raises(DataError, match="no episodes"):
        EpisodeSet("push", ())
    with pytest.raises(DataError, match="task 'reach' in a set of 'push'"):
        EpisodeSet("push", (episode(0), episode(1, task="reach")))
    with pytest.raises(DataError, match="5 observation and 3 action numbers"):
        EpisodeSet("push", (episode(0), episode(1, a_dim=3)))


def test_segments_outside_their_episode_are_refused() -> None:
    data = episodes()
    with pytest.raises(DataError, match=r"segment 1 .*outside the set"):
        cut(data, Segments(np.array([0, 1]), np.array([0, 9]), 4))
    with pytest.raises(DataError, match="longest of 6 episodes has 12 steps"):
        random_segments(data, 2, 13, 0)
    with pytest.raises(DataError, match="cut segments of at most 3 steps"):
        whole_episodes(EpisodeSet("push", (episode(0, steps=3), episode(1, steps=5))))
