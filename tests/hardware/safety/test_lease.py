"""Laws of the lease: one holder, higher priority wins, silence and release end it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinew_hardware.safety.lease import LeaseDesk, Priority
from sinew_policies.common.errors import CommandRejected

PRIORITIES = st.sampled_from(list(Priority))


@given(first=PRIORITIES, second=PRIORITIES)
def test_only_a_higher_priority_takes_the_lease(first: Priority, second: Priority) -> None:
    desk = LeaseDesk()
    desk.acquire("task", first, 0.0)
    if second > first:
        assert desk.acquire("pilot", second, 0.1).holder == "pilot"
        with pytest.raises(CommandRejected, match="'task' commands but 'pilot' holds the lease"):
            desk.require("task", 0.1)
    else:
        with pytest.raises(CommandRejected, match="'task' holds the lease with priority"):
            desk.acquire("pilot", second, 0.1)
        assert desk.require("task", 0.1).priority is first


@given(st.lists(st.tuples(st.sampled_from("abc"), PRIORITIES, st.floats(0.0, 0.5)), max_size=30))
def test_whatever_happens_at_most_one_holder_passes(asks: list[tuple[str, Priority, float]]) -> None:
    desk, now = LeaseDesk(), 0.0
    for holder, priority, pause in asks:
        now += pause
        before = desk.current(now)
        try:
            desk.acquire(holder, priority, now)
        except CommandRejected:
            assert before is not None
            assert before.holder != holder
            assert before.priority >= priority
        passing = []
        for name in "abc":
            try:
                desk.require(name, now)
                passing.append(name)
            except CommandRejected:
                pass
        assert len(passing) == 1


def test_a_silent_holder_loses_the_lease_after_its_time_to_live() -> None:
    desk = LeaseDesk()
    desk.acquire("task", Priority.POLICY, 0.0)
    desk.heartbeat("task", 0.29)
    assert desk.current(0.58) is not None
    assert desk.current(0.60) is None
    with pytest.raises(CommandRejected, match="without a lease; acquire one first"):
        desk.heartbeat("task", 0.60)


def test_a_lease_without_time_to_live_lasts_until_released_by_its_holder() -> None:
    desk = LeaseDesk()
    desk.acquire("arm_node", Priority.POLICY, 0.0, ttl_s=None)
    assert desk.current(1e6) is not None
    assert not desk.release("other", 1e6)
    assert desk.release("arm_node", 1e6)
    assert desk.current(1e6) is None


@pytest.mark.parametrize(("holder", "ttl_s"), [("", 0.3), ("task", 0.0), ("task", -1.0), ("task", float("nan"))])
def test_bad_requests_are_refused(holder: str, ttl_s: float) -> None:
    with pytest.raises(CommandRejected):
        LeaseDesk().acquire(holder, Priority.POLICY, 0.0, ttl_s)
