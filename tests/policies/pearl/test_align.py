"""The whole alignment on planted tasks: right where it speaks, silent where it cannot know."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies.pearl.planted import labels, right, task

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.pearl.align import AlignConfig, align, published
from sinew_policies.pearl.confidence import tally
from sinew_policies.pearl.controls import inverted, mirrored_progress
from sinew_policies.pearl.coupling import CouplingConfig
from sinew_policies.pearl.features import METAWORLD, features, ranked
from sinew_policies.pearl.labels import PairLabels, from_matrix
from sinew_policies.pearl.orientation import ACCEPTED, PROVISIONAL, REFUSED, SignConfig, judge
from sinew_policies.pearl.ranking import Source, best, rank

N = 40
SMALL = AlignConfig(subset=16, draws=24)


def _quality(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.linspace(0.0, 1.0, N) ** 1.5)


@pytest.fixture(scope="module")
def source():
    q = _quality(1)
    return task("press", q, np.random.default_rng(11)), from_matrix(labels(q), 200, np.random.default_rng(0))


@pytest.fixture(scope="module")
def target():
    q = _quality(2)
    return task("pull", q, np.random.default_rng(12), turn=1.0, steps=15), q


def _few(q: np.ndarray, n: int, seed: int = 0) -> PairLabels:
    return from_matrix(labels(q), n, np.random.default_rng(seed))


def test_labels_arrive_at_another_task(source, target) -> None:
    found = align(*source, target[0], SMALL)
    assert found.sign.verdict == PROVISIONAL
    assert right(found.z, target[1], ~found.abstained) > 0.9
    assert found.coverage > 0.7
    np.testing.assert_allclose(found.z + found.z.T, 1.0)
    np.testing.assert_array_equal(found.abstained, found.abstained.T)
    assert found.fallbacks == 0


def test_target_labels_make_it_accepted(source, target) -> None:
    found = align(*source, target[0], SMALL, target_anchor=_few(target[1], 10))
    assert found.sign.verdict == ACCEPTED
    assert found.sign.agreement >= 0.8
    assert right(found.z, target[1], ~found.abstained) > 0.9


def test_target_labels_sharpen_the_anchor(source, target) -> None:
    """In the source the object's way counts alone; in the target the hand's distance, which varies by itself."""
    segments, _ = target
    moved = segments.observations.copy()
    away_m = np.random.default_rng(4).uniform(0.0, 0.6, (N, 1, 1))
    moved[:, :, METAWORLD.hand : METAWORLD.hand + 3] += away_m * np.array([-0.6, 0.0, 0.8])
    segments = replace(segments, observations=moved)
    preferred = ranked(features("progress", segments)) @ np.array([1.0, 0.0, 2.0])
    few = from_matrix(labels(preferred), 50, np.random.default_rng(3))
    config = replace(SMALL, draws=8, anchor_first=1.0)
    sharp = align(*source, segments, config, target_anchor=few)
    left = align(*source, segments, replace(config, sharpen=False), target_anchor=few)
    assert sharp.sign.verdict == left.sign.verdict == ACCEPTED
    assert right(labels(sharp.utility), preferred) > right(labels(left.utility), preferred) + 0.05
    assert (sharp.z != left.z).any()
    # Only what is believed may move the anchor.
    np.testing.assert_array_equal(left.utility, align(*source, segments, config).utility)
    np.testing.assert_array_equal(
        left.utility, align(*source, segments, config, target_anchor=inverted(few)).utility
    )


@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 1000), few=st.sampled_from([0, 10, 25, 50]))
def test_mirrored_tasks_are_never_accepted(seed: int, few: int) -> None:
    q, p = _quality(seed), _quality(seed + 1)
    ours = task("press", q, np.random.default_rng(seed))
    theirs = task("pull", p, np.random.default_rng(seed + 1), turn=0.5)
    truth = from_matrix(labels(q), 200, np.random.default_rng(seed))
    given_labels = _few(p, few, seed) if few else None
    plants = [
        align(ours, truth, mirrored_progress(theirs), SMALL, target_anchor=given_labels, seed=seed),
        align(ours, inverted(truth), theirs, SMALL, target_anchor=given_labels, seed=seed),
    ]
    if given_labels is not None:
        plants.append(align(ours, truth, theirs, SMALL, target_anchor=inverted(given_labels), seed=seed))
    for found in plants:
        assert found.refused is not None
        assert found.sign.verdict == REFUSED
        assert found.abstained.all()
        assert found.coverage == 0.0


def test_without_anchor_and_target_labels_nothing_is_believed(source, target) -> None:
    for config in (published(), replace(SMALL, anchor="")):
        found = align(*source, target[0], config)
        assert "mirror image" in (found.refused or "")


def test_the_same_seed_gives_the_same_labels(source, target) -> None:
    first, second, other = (align(*source, target[0], SMALL, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.z, second.z)
    np.testing.assert_array_equal(first.abstained, second.abstained)
    assert (first.z != other.z).any()


def test_subsets_of_small_sets_still_differ(source, target) -> None:
    found = align(*source, target[0], replace(SMALL, subset=N))
    off = ~np.eye(N, dtype=bool)
    assert (found.confidence[off] < 1.0).mean() > 0.05
    few = target[0].subset(range(3))
    assert align(*source, few, SMALL).z.shape == (3, 3)


def test_contrast_labels_cross_clusters_only(source, target) -> None:
    found = align(*source, target[0], replace(SMALL, contrast=True))
    unlabelled = found.confidence == 0.5
    assert unlabelled[~np.eye(N, dtype=bool)].mean() > 0.2
    assert right(found.z, target[1], ~found.abstained) > 0.9


def test_broken_plans_fall_back_and_are_counted(source, target) -> None:
    sharp = replace(SMALL, draws=4, coupling=CouplingConfig(solver="batch", epsilon=1e-4, max_iter=10))
    found = align(*source, target[0], sharp)
    assert found.fallbacks > 0
    assert np.isfinite(found.z).all()
    assert found.solver == "batch"


def test_source_labels_that_contradict_progress_are_refused(source, target) -> None:
    noise = PairLabels(source[1].pairs, np.random.default_rng(5).integers(0, 2, len(source[1])).astype(float))
    assert "do not follow the declared features" in (align(source[0], noise, target[0], SMALL).refused or "")


def test_bad_input_is_refused(source, target) -> None:
    segments, truth = source
    with pytest.raises(DataError, match=r"'press' has 4 action numbers, target 'arm' has 7"):
        align(segments, truth, task("arm", _quality(3), np.random.default_rng(0), action_dim=7), SMALL)
    ties = PairLabels(truth.pairs, np.full(len(truth), 0.5))
    with pytest.raises(DataError, match=r"source 'press': all 200 labels are ties"):
        align(segments, ties, target[0], SMALL)
    with pytest.raises(DataError, match=r"'pull' name segment 99; expected 0 to 39"):
        align(segments, truth, target[0], SMALL, target_anchor=PairLabels(np.array([[0, 99]]), np.array([1.0])))
    with pytest.raises(ConfigError, match="did you mean 'relative'"):
        AlignConfig(structure="relativ")
    with pytest.raises(ConfigError, match=r"min_vote_agreement is 0\.2"):
        AlignConfig(min_vote_agreement=0.2)


def test_ranking_puts_the_fitting_source_first_and_may_refuse_all(source, target) -> None:
    segments, truth = source
    shuffled = PairLabels(truth.pairs, np.random.default_rng(6).permutation(truth.z))
    strangers = Source(task("arm", _quality(3), np.random.default_rng(0), action_dim=7), truth)
    ranked = rank(
        [strangers, Source(replace(segments, task="confused"), shuffled), Source(segments, truth)],
        target[0],
        SMALL,
        target_anchor=_few(target[1], 10),
    )
    assert ranked[0].task == "press"
    assert best(ranked) is ranked[0].alignment
    assert {r.task for r in ranked[1:]} == {"arm", "confused"}
    assert all(r.score == -np.inf and r.reason for r in ranked[1:])
    assert "action" in next(r.reason for r in ranked if r.task == "arm")
    refused = rank([Source(segments, truth)], target[0], SMALL, target_anchor=inverted(_few(target[1], 10)))
    assert best(refused) is None


@pytest.mark.parametrize(
    ("labels_", "agreement", "structure", "cue", "source_accuracy", "verdict"),
    [
        (0, np.nan, 0.4, 0.5, 0.9, PROVISIONAL),
        (0, np.nan, -0.4, -0.5, 0.9, REFUSED),
        (0, np.nan, 0.3, np.nan, 0.9, REFUSED),  # structure alone must be clear
        (0, np.nan, 0.6, np.nan, 0.9, PROVISIONAL),
        (0, np.nan, np.nan, np.nan, np.nan, REFUSED),
        (10, 0.7, 0.4, 0.5, 0.9, ACCEPTED),
        (10, 0.7, -0.4, -0.5, 0.9, REFUSED),
        (10, 0.9, -0.4, -0.5, 0.9, REFUSED),  # too few against the cues
        (50, 0.9, -0.4, -0.5, 0.9, ACCEPTED),  # many labels outweigh them
        (10, 0.5, 0.4, 0.5, 0.9, REFUSED),
        (10, 0.1, 0.4, 0.5, 0.9, REFUSED),
        (4, 1.0, 0.4, 0.5, 0.9, PROVISIONAL),
        (4, 0.25, 0.4, 0.5, 0.9, REFUSED),
        (10, 1.0, 0.4, 0.5, 0.5, REFUSED),
    ],
)
def test_the_sign_check(labels_, agreement, structure, cue, source_accuracy, verdict) -> None:
    found = judge(
        SignConfig(),
        labels=labels_,
        agreement=agreement,
        structure=structure,
        cue=cue,
        source_accuracy=source_accuracy,
    )
    assert found.verdict == verdict
    assert bool(found.reason) == (verdict != ACCEPTED)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_votes_agree_fully_only_where_every_subset_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(8)
    index = np.stack([rng.permutation(8)[:5] for _ in range(6)])
    z = labels(order)[index[:, :, None], index[:, None, :]]
    every = np.broadcast_to(~np.eye(5, dtype=bool), z.shape)
    same = tally(8, index, z, every)
    some = same.count > 0
    np.testing.assert_array_equal(same.agreement[some], 1.0)
    np.testing.assert_array_equal(same.z[some], labels(order)[some])
    np.testing.assert_array_equal(same.z[~some], 0.5)
    split = tally(8, np.concatenate([index, index]), np.concatenate([z, 1 - z]), np.concatenate([every, every]))
    np.testing.assert_array_equal(split.agreement, 0.5)
