import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import ConfigError
from sinew_policies.t3 import mixing
from sinew_policies.t3.mixing import Order, Schedule, shares


@pytest.mark.parametrize(
    ("rule", "expected"), [("root", [1 / 6, 2 / 6, 3 / 6]), ("equal", [1 / 3] * 3), ("invlinear", [36, 9, 4])]
)
def test_shares_follow_the_rule(rule: str, expected: list[float]) -> None:
    np.testing.assert_allclose(shares([1, 4, 9], rule), np.array(expected) / np.sum(expected))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=6), st.sampled_from(mixing.RULES))
def test_shares_are_probabilities(n_batches: list[int], rule: str) -> None:
    p = shares(n_batches, rule)
    assert p.min() > 0.0
    assert p.sum() == pytest.approx(1.0)


def test_unknown_rules_and_empty_sources_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown mixing rule 'rot'; did you mean 'root'\?"):
        shares([1], "rot")
    with pytest.raises(ConfigError, match="at least one source"):
        shares([])


def test_the_schedule_keeps_the_shares_and_counts_turns() -> None:
    schedule = Schedule(shares([1, 4, 9]), seed=3)
    seen = [0, 0, 0]
    for step in range(6000):  # across a block of draws
        source, turn = schedule.at(step)
        assert turn == seen[source]
        seen[source] += 1
    np.testing.assert_allclose(np.array(seen) / 6000, [1 / 6, 2 / 6, 3 / 6], atol=0.03)


def test_the_schedule_can_be_entered_anywhere() -> None:
    forward = Schedule(shares([2, 3]), seed=1)
    expected = [forward.at(step) for step in range(5000)]
    for step in (4999, 0, 4200, 17):
        assert Schedule(shares([2, 3]), seed=1).at(step) == expected[step]


def test_an_epoch_has_every_sample_once_and_drops_the_rest() -> None:
    order = Order([5, 4, 4], batch=4, seed=0, name="a")
    assert order.n_batches == 3
    epoch = np.concatenate([order.indices(turn) for turn in range(3)])
    assert len(set(epoch.tolist())) == 12
    assert set(epoch.tolist()) <= set(range(13))


def test_an_exhausted_source_starts_again_in_another_order() -> None:
    order = Order([40], batch=8, seed=0, name="a")
    first = np.concatenate([order.indices(turn) for turn in range(5)])
    second = np.concatenate([order.indices(turn) for turn in range(5, 10)])
    assert sorted(first) == sorted(second) == list(range(40))
    assert first.tolist() != second.tolist()
    np.testing.assert_array_equal(Order([40], batch=8, seed=0, name="a").indices(7), order.indices(7))
    assert Order([40], batch=8, seed=0, name="b").indices(7).tolist() != order.indices(7).tolist()


def test_samples_stay_near_their_shard_in_large_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "SHUFFLE_WINDOW", 100)
    order = Order([100] * 8, batch=100, seed=0, name="a")
    for turn in range(8):
        assert len({int(i) // 100 for i in order.indices(turn)}) == 1


def test_a_set_smaller_than_a_batch_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="set 'a' has 3 samples, fewer than a batch of 4"):
        Order([3], batch=4, seed=0, name="a")
