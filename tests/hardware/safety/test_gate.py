"""Laws of the safety gate: whatever comes in, what goes out respects every limit."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_hardware.models.panda import HOME_Q, JOINT_NAMES, LIMITS
from sinew_hardware.planning.plan import Planner
from sinew_hardware.safety.envelope import Envelope
from sinew_hardware.safety.gate import Gate, GateConfig, Priority
from sinew_policies.common.errors import CommandRejected, PlanningError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64

PERIOD_S = 0.01
REST = np.zeros(7)


class Bench:
    """A gate with an arm that follows perfectly and a clock that advances one period per sample."""

    def __init__(self, q: F64 = HOME_Q, envelope: Envelope | None = None) -> None:
        self.gate = Gate(LIMITS, JOINT_NAMES, check=envelope.breach if envelope else None)
        self.now = 0.0
        self.out = [np.array(q)]
        self.gate.observe(q, REST, self.now)
        self.gate.acquire("task", Priority.POLICY, self.now, None)

    def send(self, q: object, *, holder: str = "task", age_s: float = 0.0):  # type: ignore[no-untyped-def]
        self._advance()
        result = self.gate.command(q, holder=holder, stamp_s=self.now - age_s, now_s=self.now)  # type: ignore[arg-type]
        self.out.append(result.q)
        return result

    def tick(self) -> None:
        self._advance()
        self.out.append(self.gate.tick(self.now).q)

    def move(self, joint: int = 0, rad_per_s: float = 1.0, seconds: float = 0.6) -> None:
        """Accelerates one joint gently and keeps its speed."""
        q, v = self.gate.last_q.copy(), 0.0
        for _ in range(round(seconds / PERIOD_S)):
            v = min(rad_per_s, v + 0.02 * rad_per_s)
            q[joint] += v * PERIOD_S
            assert self.send(q.copy()).event is None

    def assert_inside(self) -> None:
        q = np.array([self.out[0]] * 3 + self.out)
        v = np.diff(q, axis=0) / PERIOD_S
        a = np.diff(v, axis=0) / PERIOD_S
        j = np.diff(a, axis=0) / PERIOD_S
        assert np.all(np.isfinite(q))
        assert np.all((q >= LIMITS.lower) & (q <= LIMITS.upper))
        for values, limit in ((v, LIMITS.velocity), (a, LIMITS.acceleration), (j, LIMITS.jerk)):
            assert np.max(np.abs(values) / limit) <= 1.0 + 1e-5

    def _advance(self) -> None:
        self.now += PERIOD_S
        v = (self.out[-1] - self.out[-2]) / PERIOD_S if len(self.out) > 1 else REST
        self.gate.observe(self.out[-1], v, self.now)


def _source(kind: str, rng: np.random.Generator, bench: Bench, k: int) -> object:
    last = bench.gate.last_q
    match kind:
        case "noise":
            return last + rng.normal(0.0, 0.01, 7)
        case "full speed":
            return last + LIMITS.velocity * PERIOD_S * np.sign(np.sin(k / 70.0) + 0.2)
        case "chatter":
            return last + np.sign(rng.normal(size=7)) * 0.02
        case "into the limits":
            return last + np.sign(LIMITS.upper - HOME_Q) * 0.02
        case "beyond the limits":
            return np.where(rng.random(7) < 0.5, LIMITS.lower - 0.01, LIMITS.upper + 0.01)
        case "random":
            return rng.uniform(-4.0, 4.0, 7)
    return rng.choice([np.nan, np.inf, -np.inf, 1e300, 0.0], 7)


KINDS = ("noise", "full speed", "chatter", "into the limits", "beyond the limits", "random", "poison")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
def test_output_is_inside_the_limits_for_any_input_sequence(seed: int, kinds: list[str]) -> None:
    rng = stream(seed, "gate fuzz")
    start = rng.uniform(LIMITS.lower, LIMITS.upper)
    bench = Bench(start)
    for k in range(150):
        if bench.gate.estopped and bench.gate.at_rest:
            bench.gate.reset(bench.now)
        if not bench.gate.estopped:
            bench.gate.acquire("task", Priority.POLICY, bench.now, None)
        if rng.random() < 0.05:
            bench.tick()
        else:
            bench.send(_source(kinds[k * len(kinds) // 150], rng, bench, k))
    bench.assert_inside()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_hypothesis_chosen_sequences_stay_inside_too(data: st.DataObject) -> None:
    bench = Bench()
    number = st.one_of(st.floats(-0.06, 0.06), st.floats(allow_nan=True, allow_infinity=True))
    for _ in range(data.draw(st.integers(1, 12))):
        delta = np.array(data.draw(st.lists(number, min_size=7, max_size=7)))
        for _ in range(data.draw(st.integers(1, 15))):
            bench.send(bench.gate.last_q + delta)
    bench.assert_inside()


@pytest.mark.parametrize(
    ("command", "reason", "text"),
    [
        (np.full(7, np.nan), "not_finite", "panda_joint1"),
        (np.array([0.0, 0, 0, 0, 0, np.inf, 0]), "not_finite", "panda_joint6"),
        (np.zeros(6), "length", r"expected \(7,\)"),
        (np.zeros((1, 7)), "length", r"shape \(1, 7\)"),
        ("home", "malformed", "not an array of numbers"),
        (np.add(HOME_Q, [0.2, 0, 0, 0, 0, 0, 0]), "jump", "panda_joint1 jumps by 0.200 rad"),
        (np.add(HOME_Q, [0, 3.0, 0, 0, 0, 0, 0]), "position", r"panda_joint2 = 2.215 rad; allowed -1.763 to 1.763"),
    ],
)
def test_bad_commands_are_rejected_and_the_arm_stands(command: object, reason: str, text: str) -> None:
    bench = Bench()
    result = bench.send(command)
    assert np.array_equal(result.q, HOME_Q)
    assert result.rejected
    assert result.event.reason == reason
    with pytest.raises(CommandRejected, match=text):
        result.require()
    assert bench.gate.state(bench.now).rejected == 1


def test_checks_come_in_the_documented_order() -> None:
    bench = Bench()
    bench.gate.trip("test", bench.now)
    assert bench.send(np.full(7, np.nan), holder="x", age_s=1.0).event.reason == "not_finite"
    assert bench.send(HOME_Q, holder="x", age_s=1.0).event.reason == "stale"
    assert bench.send(HOME_Q, holder="x").event.reason == "lease"


def test_stale_commands_and_stale_state_are_rejected() -> None:
    bench = Bench()
    assert bench.send(HOME_Q, age_s=0.2).event.reason == "stale"
    assert bench.send(HOME_Q, age_s=-0.2).event.reason == "stale"
    late = bench.now + 0.15
    result = bench.gate.command(HOME_Q, holder="task", stamp_s=late, now_s=late)
    assert result.event.reason == "stale_state"
    bench.gate.observe(np.full(7, np.nan), REST, late)
    assert bench.gate.command(HOME_Q, holder="task", stamp_s=late, now_s=late).event.reason == "stale_state"


def test_only_the_lease_holder_commands_and_the_refusal_names_it() -> None:
    bench = Bench()
    result = bench.send(HOME_Q, holder="policy")
    assert result.event.reason == "lease"
    assert "'task' holds the lease" in result.event.message
    assert bench.gate.acquire("pilot", Priority.HUMAN, bench.now).holder == "pilot"
    assert bench.send(HOME_Q).event.reason == "lease"


def test_emergency_stop_latches_until_reset_at_rest_with_a_new_lease() -> None:
    bench = Bench()
    bench.move()
    bench.gate.trip("button", bench.now)
    with pytest.raises(CommandRejected, match=r"panda_joint1 moves at .* wait until the arm stands still"):
        bench.gate.reset(bench.now)
    moved = bench.gate.last_q.copy()
    while not bench.gate.at_rest:
        assert bench.send(moved).rejected
        assert len(bench.out) < 200
    assert 0.0 < bench.gate.last_q[0] - moved[0] < 0.15  # decelerated, neither stopped dead nor ran on
    with pytest.raises(CommandRejected, match=r"latched \(button\)"):
        bench.gate.acquire("task", Priority.HUMAN, bench.now)
    bench.tick()
    bench.tick()
    bench.gate.reset(bench.now)
    assert bench.send(bench.gate.last_q).event.reason == "lease"
    bench.gate.acquire("task", Priority.POLICY, bench.now)
    assert bench.send(bench.gate.last_q).event is None
    bench.assert_inside()


def test_reset_needs_a_fresh_state() -> None:
    bench = Bench()
    bench.gate.trip("button", bench.now)
    with pytest.raises(CommandRejected, match="no fresh arm state"):
        bench.gate.reset(bench.now + 1.0)
    assert bench.gate.estopped


def test_silence_decelerates_to_hold_within_limits() -> None:
    bench = Bench()
    bench.move(rad_per_s=1.5, seconds=0.8)
    ticks = 0
    while not bench.gate.at_rest:
        bench.tick()
        ticks += 1
        assert ticks < 30  # 300 ms
    held = bench.gate.last_q.copy()
    bench.tick()
    assert np.array_equal(bench.gate.last_q, held)
    bench.assert_inside()


def test_one_late_tick_does_not_brake() -> None:
    bench = Bench()
    bench.move()
    q = bench.gate.last_q.copy()
    bench.tick()
    assert bench.gate.last_q[0] - q[0] == pytest.approx(0.01, abs=1e-6)
    q[0] += 0.02
    assert bench.send(q).event is None


def test_small_excess_is_clamped_and_counted_and_persistent_excess_latches() -> None:
    bench = Bench()
    cycles = GateConfig().clamp_cycles
    for k in range(cycles):
        result = bench.send(bench.gate.last_q + bench.gate._limiter.v * PERIOD_S + 0.01)
        assert result.event.reason == "clamped"
        assert not result.rejected
        assert bench.gate.state(bench.now).clamped == k + 1
    assert bench.gate.estopped
    assert f"{cycles} samples in a row beyond limits" in bench.gate.state(bench.now).estop_reason
    bench.assert_inside()


def test_an_arm_far_from_its_command_latches() -> None:
    bench = Bench()
    bench.send(HOME_Q)
    bench.gate.observe(HOME_Q + 1.0, REST, bench.now)
    assert bench.gate.estopped
    assert "1.00 rad away from its command" in bench.gate.state(bench.now).estop_reason


def test_after_a_pause_the_gate_continues_from_where_the_arm_was_moved_to() -> None:
    bench = Bench()
    bench.send(HOME_Q)
    bench.now += 5.0
    moved = HOME_Q + 0.3
    bench.gate.observe(moved, REST, bench.now)
    result = bench.gate.command(moved, holder="task", stamp_s=bench.now, now_s=bench.now)
    assert result.event is None
    assert np.array_equal(result.q, moved)


@pytest.mark.parametrize(("joint", "sign", "reason"), [(1, 1.0, "workspace"), (3, -1.0, "self_collision")])
def test_arm_stops_before_the_table_and_before_itself(joint: int, sign: float, reason: str) -> None:
    envelope = Envelope()
    start = HOME_Q.copy()
    if reason == "self_collision":
        start[5] = 0.2  # hand turned towards the forearm
    assert envelope.breach(start) is None
    bench = Bench(start, envelope)
    q, v = start.copy(), 0.0
    result = None
    for _ in range(400):
        v = min(0.6, v + 0.006)
        q[joint] += sign * v * PERIOD_S
        result = bench.send(q.copy())
        if result.rejected:
            break
    assert result is not None
    assert result.event.reason == reason
    while not bench.gate.at_rest:
        bench.tick()
    breach = envelope.breach(bench.gate.last_q)
    assert breach is None or breach.depth_m < 0.006
    bench.assert_inside()


def test_the_gate_alters_no_sample_of_500_planned_motions() -> None:
    rng = stream(3, "planned motions")
    planner = Planner(seed=3)
    bench = Bench(envelope=Envelope())
    q, motions, samples = HOME_Q, 0, 0
    cost_s = []
    while motions < 500:
        if motions % 10 == 0:
            goal = rng.uniform(LIMITS.lower + 0.05, LIMITS.upper - 0.05)
        else:
            goal = np.clip(q + rng.uniform(-0.3, 0.3, 7), LIMITS.lower + 0.03, LIMITS.upper - 0.03)
        try:
            trajectory = planner.plan_to_q(q, goal, speed=1.0)
        except PlanningError:
            continue
        for sample in trajectory.q:
            begun = time.thread_time()
            result = bench.send(sample)
            cost_s.append(time.thread_time() - begun)
            assert result.event is None, result.event
            assert np.array_equal(result.q, sample)
        q = trajectory.q[-1]
        motions += 1
        samples += len(trajectory.q)
    assert samples > 10_000
    assert np.median(cost_s) < 0.6e-3  # twice the budget: shared machines
    bench.assert_inside()
