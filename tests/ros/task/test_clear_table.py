"""The clear-table sequence against a table of fakes: what it removes, when it stops, what it tries again."""

from dataclasses import replace

import numpy as np
import pytest

from sinew_nodes.task.clear_table import ClearTable, ClearTableConfig
from sinew_nodes.task.ports import Cancelled, MotionBlocked, MotionFailed, NodeLost, PickPlan, Scene
from sinew_nodes.task.progress import Outcome, Progress, Stage
from sinew_policies.common.errors import CloudError, NoPlan
from sinew_policies.common.types import Grasp, GraspSet, PointCloud, Trajectory


def _trajectory() -> Trajectory:
    return Trajectory(np.zeros(1), np.zeros((1, 7)), np.zeros((1, 7)), np.zeros((1, 7)))


def _grasp(x: float, score: float) -> Grasp:
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[0, 3] = x
    return Grasp(T, 0.03, score, np.array([x, 0.0, 0.02]))


class Table:
    """Objects at distinct x; `slippery` ones fail that many times before they hold."""

    def __init__(self, xs: list[float], slippery: dict[float, int] | None = None) -> None:
        self.xs = list(xs)
        self.slippery = dict(slippery or {})
        self.held: float | None = None
        self.target: float | None = None
        self.calls: list[str] = []
        self.unplannable: set[float] = set()
        self.fail_next: Exception | None = None
        self.held_still = 0
        self.comes_back = False
        self.stopped_far = False
        self.widths_lifted: list[float] = []  # what the next looks at the lifted hand read

    def look(self) -> Scene:
        if self.fail_next and self.calls.count("look") == 1:
            raise self.fail_next
        self.calls.append("look")
        xyz = np.array([[x, 0.0, 0.03] for x in self.xs for _ in range(100)], np.float32).reshape(-1, 3)
        cloud = PointCloud(xyz, np.zeros((len(xyz), 3), np.uint8), "base_link")
        grasps = tuple(_grasp(x, 0.9 - 0.1 * i) for i, x in enumerate(self.xs))
        return Scene(GraspSet(grasps, "base_link", 0), cloud)

    def to_observe(self, q: np.ndarray) -> Trajectory:
        return _trajectory()

    def to_bin(self, q: np.ndarray, drop_index: int) -> Trajectory:
        return _trajectory()

    def plan_pick(self, q: np.ndarray, grasp: Grasp, cloud: PointCloud) -> PickPlan:
        x = float(grasp.contact[0])
        if x in self.unplannable:
            raise NoPlan(f"no path to x = {x}")
        self.target = x
        return PickPlan(grasp, _trajectory(), _trajectory(), _trajectory())

    def cut_short(self, plan: PickPlan, q: np.ndarray) -> PickPlan:
        if self.stopped_far:
            raise NoPlan("the hand stopped 50 mm before the grasp")
        return replace(plan, lift=_trajectory())

    def q(self) -> np.ndarray:
        return np.zeros(7)

    def execute(self, trajectory: Trajectory, what: str, *, tolerance_rad: float | None = None) -> None:
        self.calls.append(what)

    def hold(self) -> None:
        self.held_still += 1

    def wait_until_back(self, node: str, timeout_s: float) -> bool:
        self.fail_next = None
        return self.comes_back

    def open(self, width_m: float) -> None:
        if self.held is not None and width_m > 0.07 and self.calls[-1] == "to the bin":
            self.xs.remove(self.held)
        self.held = None

    def close(self) -> float:
        assert self.target is not None
        if self.slippery.get(self.target, 0) > 0:
            self.slippery[self.target] -= 1
            self.held = None
            return 0.0
        self.held = self.target
        return self.widths_lifted.pop(0) if self.widths_lifted else 0.03

    def width_m(self) -> float:
        if self.widths_lifted:
            return self.widths_lifted.pop(0)
        return 0.03 if self.held is not None else 0.0


def _run(table: Table, **config: float) -> tuple[ClearTable, list[Progress]]:
    seen: list[Progress] = []
    return ClearTable(table, table, table, table, table, ClearTableConfig(**config), seen.append), seen  # type: ignore[arg-type]


def test_clears_every_object_and_says_empty() -> None:
    table = Table([0.4, 0.5, 0.6])
    task, seen = _run(table)
    report = task.run()
    assert report.outcome is Outcome.EMPTY
    assert report.removed == 3
    assert table.xs == []
    assert [p.stage for p in seen][-1] is Stage.DONE
    assert seen[-1].removed == 3


def test_a_failed_grasp_is_not_repeated_at_once_but_its_object_is_retried() -> None:
    table = Table([0.4, 0.5], slippery={0.4: 1})
    task, _ = _run(table)
    report = task.run()
    assert report.outcome is Outcome.EMPTY
    assert [a.success for a in report.attempts][:2] == [False, True]
    assert "nothing between the fingers" in report.attempts[0].reason
    assert report.removed == 2


def test_gives_up_after_the_set_number_of_failures_in_a_row() -> None:
    table = Table([0.4], slippery={0.4: 99})
    task, _ = _run(table, max_failures=3)
    report = task.run()
    assert report.outcome is Outcome.TOO_MANY_FAILURES
    assert len(report.attempts) == 3
    assert "3 attempts in a row failed" in report.message


def test_an_unplannable_grasp_gives_way_to_the_next() -> None:
    table = Table([0.4, 0.5])
    table.unplannable = {0.4}
    task, _ = _run(table, max_failures=2)
    report = task.run()
    assert report.attempts[0].success
    assert table.xs == [0.4]
    assert "no motion plan" in report.attempts[-1].reason


@pytest.mark.parametrize("task", ["clear", "pick"])
def test_a_cloud_that_cannot_be_used_is_a_failure_and_no_empty_table(task: str) -> None:
    table = Table([0.4])

    def look() -> Scene:
        raise CloudError("CameraInfo says 32x24; both must come from the same stream")

    table.look = look  # type: ignore[method-assign]
    sequence, _ = _run(table, max_failures=3)
    report = sequence.run() if task == "clear" else sequence.pick()[0]
    assert report.outcome is Outcome.TOO_MANY_FAILURES
    assert [a.stage for a in report.attempts] == [Stage.PERCEIVE] * 3
    assert "CameraInfo says 32x24" in report.message
    assert "close" not in table.calls


def test_a_node_that_is_lost_again_and_again_ends_the_run() -> None:
    table = Table([0.4])
    table.comes_back = True

    def look() -> Scene:
        raise NodeLost("camera_node", "no transform base_link ← moon")

    table.look = look  # type: ignore[method-assign]
    report = _run(table, respawn_timeout_s=0.05)[0].run()
    assert report.outcome is Outcome.NODE_LOST
    assert "base_link ← moon" in report.message
    assert not report.attempts


def test_a_lost_node_ends_the_run_with_the_arm_held_and_the_node_named() -> None:
    table = Table([0.4, 0.5])
    table.fail_next = NodeLost("grasp_node", "/grasp/plan is gone: is grasp_node alive?")
    report = _run(table)[0].run()
    assert report.outcome is Outcome.NODE_LOST
    assert "grasp_node" in report.message
    assert table.held_still == 1


def test_cancel_passes_through() -> None:
    table = Table([0.4])
    table.execute = lambda trajectory, what: (_ for _ in ()).throw(Cancelled("cancelled"))  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        _run(table)[0].run()


def test_motion_failure_counts_as_a_failed_attempt_and_forbids_that_grasp() -> None:
    table = Table([0.4, 0.5])
    real = table.execute

    def execute(trajectory: Trajectory, what: str, *, tolerance_rad: float | None = None) -> None:
        if what == "approach" and table.target == 0.4 and "broken" not in table.calls:
            table.calls.append("broken")
            raise MotionFailed("path tolerance violated on panda_joint4")
        real(trajectory, what)

    table.execute = execute  # type: ignore[method-assign]
    report = _run(table)[0].run()
    assert report.outcome is Outcome.EMPTY
    assert not report.attempts[0].success
    assert "panda_joint4" in report.attempts[0].reason
    assert report.attempts[1].success


@pytest.mark.parametrize("far", [False, True])
def test_an_approach_stopped_just_before_its_end_closes_there(far: bool) -> None:
    table = Table([0.4])
    table.stopped_far = far
    real, asked = table.execute, []

    def execute(trajectory: Trajectory, what: str, *, tolerance_rad: float | None = None) -> None:
        if what == "approach":
            asked.append(tolerance_rad)
            if len(asked) == 1:
                raise MotionBlocked("goal tolerance violated on panda_joint2")
        real(trajectory, what)

    table.execute = execute  # type: ignore[method-assign]
    report = _run(table, contact_tolerance_rad=0.03)[0].run()
    assert asked[0] == 0.03
    assert report.attempts[0].success is not far
    assert ("panda_joint2" in report.attempts[0].reason) == far


def test_an_object_that_turned_in_the_hand_is_gripped_anew() -> None:
    table = Table([0.4])
    table.widths_lifted = [0.048, 0.038, 0.0378]  # at closing, lifted, gripped anew
    report = _run(table)[0].run()
    assert [a.success for a in report.attempts] == [True]


def test_an_object_that_goes_on_slipping_is_a_failed_attempt() -> None:
    table = Table([0.4])
    table.widths_lifted = [0.048, 0.038, 0.030]
    report = _run(table)[0].run()
    assert not report.attempts[0].success
    assert "slips: 38.0 mm lifted, 30.0 mm" in report.attempts[0].reason


def test_stops_at_the_requested_count() -> None:
    table = Table([0.4, 0.5, 0.6])
    report = _run(table)[0].run(max_objects=1)
    assert report.removed == 1
    assert len(table.xs) == 2


def test_a_node_that_comes_back_lets_clearing_go_on() -> None:
    table = Table([0.4, 0.5])
    table.comes_back = True
    table.fail_next = NodeLost("camera_node", "node camera_node is gone")
    task, seen = _run(table)
    report = task.run()
    assert report.outcome is Outcome.EMPTY
    assert report.removed == 2
    waits = [p for p in seen if p.stage is Stage.WAIT]
    assert len(waits) == 1
    assert "camera_node" in waits[0].detail
    assert table.held_still == 1


def test_an_object_in_the_hand_is_dropped_after_the_interruption() -> None:
    table = Table([0.4, 0.5])
    table.comes_back = True
    real, lost = table.execute, [False]

    def execute(trajectory: Trajectory, what: str, *, tolerance_rad: float | None = None) -> None:
        if what == "to the bin" and not lost[0]:
            lost[0] = True
            raise NodeLost("grasp_node", "node grasp_node is gone")
        real(trajectory, what)

    table.execute = execute  # type: ignore[method-assign]
    report = _run(table)[0].run()
    assert lost[0]
    assert report.removed == 2
    assert len(report.attempts) == 2


def test_pick_keeps_the_object_in_the_hand() -> None:
    table = Table([0.4, 0.5], slippery={0.4: 1})
    report, plan = _run(table)[0].pick()
    assert plan is not None
    assert table.held is not None
    assert len(report.attempts) == 2
    assert "to the bin" not in table.calls
