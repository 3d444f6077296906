"""What the feature maps see, and what they must not see."""

from dataclasses import replace

import numpy as np
import pytest
from policies.pearl.planted import task

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.pearl.contrast import clusters, crossing, draw
from sinew_policies.pearl.controls import mirrored_progress
from sinew_policies.pearl.distances import pairwise
from sinew_policies.pearl.features import (
    MAPS,
    METAWORLD,
    PROGRESS_NAMES,
    ObservationLayout,
    distances,
    features,
    ranked,
)

QUALITY = np.linspace(0.0, 1.0, 12)


@pytest.fixture
def segments():
    return task("carry", QUALITY, np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(MAPS))
def test_no_map_reads_rewards_or_successes(segments, name: str) -> None:
    other = replace(segments, rewards=segments.rewards + 5, successes=~segments.successes)
    np.testing.assert_array_equal(features(name, segments), features(name, other))


def test_relative_and_progress_ignore_where_the_scene_stands(segments) -> None:
    moved = segments.observations.copy()
    for start in (METAWORLD.hand, METAWORLD.object, METAWORLD.goal):
        moved[:, :, start : start + 3] += np.float32([0.5, -0.25, 0.125])
    for name in ("relative", "progress"):
        np.testing.assert_allclose(
            features(name, replace(segments, observations=moved)), features(name, segments), atol=1e-5
        )


def test_progress_grows_with_quality_and_falls_in_its_mirror(segments) -> None:
    for sign, seen in ((1, segments), (-1, mirrored_progress(segments))):
        progress = features("progress", seen)
        column = progress[:, PROGRESS_NAMES.index("object_goal_mean")]
        assert sign * np.corrcoef(column, QUALITY)[0, 1] > 0.8


def test_the_mirror_keeps_distances_to_the_goal_up_to_reflection(segments) -> None:
    _, object_goal, hand_goal = distances(segments)
    _, far_object, far_hand = distances(mirrored_progress(segments))
    np.testing.assert_allclose(far_object, object_goal.max() - object_goal, atol=1e-5)
    np.testing.assert_allclose(far_hand, hand_goal.max() - hand_goal, atol=1e-5)


def test_the_hand_takes_the_place_of_an_object_that_nobody_moves(segments) -> None:
    still = segments.observations.copy()
    still[:, :, METAWORLD.object : METAWORLD.object + 3] = still[:, :1, METAWORLD.object : METAWORLD.object + 3]
    still[:, :, METAWORLD.goal : METAWORLD.goal + 3] = still[:, :1, METAWORLD.goal : METAWORLD.goal + 3]
    hand_object, object_goal, hand_goal = distances(replace(segments, observations=still))
    np.testing.assert_array_equal(hand_object, 0.0)
    np.testing.assert_array_equal(object_goal, hand_goal)


def test_ranks_are_the_same_after_any_increasing_map() -> None:
    x = np.random.default_rng(1).normal(size=(9, 3))
    np.testing.assert_allclose(ranked(np.exp(3 * x)), ranked(x))
    assert ranked(x).min() == pytest.approx(-0.5 + 0.5 / 9)
    assert ranked(x).max() == pytest.approx(0.5 - 0.5 / 9)


def test_bad_features_are_refused(segments) -> None:
    with pytest.raises(ConfigError, match="did you mean 'progress'"):
        features("progres", segments)
    with pytest.raises(DataError, match=r"observations have 39 numbers.*needs 53.*'raw' or 'actions'"):
        features("relative", segments, ObservationLayout(hand=0, object=4, goal=50))
    holed = segments.observations.copy()
    holed[3, 0, 5] = np.nan
    with pytest.raises(DataError, match=r"'carry': 'raw' features of segment 3 are not finite"):
        features("raw", replace(segments, observations=holed))


def test_distances_have_mean_one_and_blocks_are_their_submatrices() -> None:
    x = np.random.default_rng(2).normal(size=(10, 4))
    d = pairwise(x)
    off = d.values[~np.eye(10, dtype=bool)]
    assert off.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(d.values, pairwise(1000.0 * x).values)
    index = np.array([[3, 1, 7], [0, 9, 2]])
    np.testing.assert_array_equal(d.block(index)[1], d.values[np.ix_(index[1], index[1])])


def test_indistinct_segments_are_refused() -> None:
    with pytest.raises(DataError, match="all 4 segments have the same features"):
        pairwise(np.ones((4, 3)))
    with pytest.raises(DataError, match="not finite"):
        pairwise(np.array([[0.0], [np.nan], [1.0]]))


def test_clusters_find_two_groups_and_draws_share_them_equally() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 0.1, (20, 2)), rng.normal(5, 0.1, (10, 2))])
    found = clusters(x, 2, rng)
    assert len(set(found[:20])) == len(set(found[20:])) == 1
    assert found[0] != found[20]
    chosen = draw(found, 12, rng)
    assert len(set(chosen)) == 12
    assert (chosen < 20).sum() == 6
    assert (draw(found, 30, rng) < 20).sum() == 20  # the small group runs out
    np.testing.assert_array_equal(crossing(np.array([0, 0, 1])), [[0, 0, 1], [0, 0, 1], [1, 1, 0]])
    with pytest.raises(ConfigError, match="31 of 30"):
        draw(found, 31, rng)
