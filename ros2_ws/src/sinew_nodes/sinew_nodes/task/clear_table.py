"""The clear-table sequence: perceive, choose, plan, approach, close, lift, verify, drop, until empty.

Pure logic over the ports; it knows nothing of ROS and is tested without it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from sinew_hardware.planning.pick import PickPlan
from sinew_nodes.task.failed_grasps import FailedGrasps, FailedGraspsConfig
from sinew_nodes.task.ports import (
    ArmPort,
    HandPort,
    MotionBlocked,
    MotionFailed,
    NodeLost,
    Perception,
    PickPlanner,
    Scene,
    Watch,
)
from sinew_nodes.task.progress import Attempt, Outcome, Progress, Report, Stage
from sinew_policies.common.errors import CloudError, PlanningError
from sinew_policies.common.jaw import opening_for


@dataclass(frozen=True)
class ClearTableConfig:
    max_failures: int = 5  # consecutive attempts without a removed object before giving up
    plans_per_look: int = 12  # candidates whose motion is planned before another look is taken
    min_object_points: int = 40  # fewer cloud points above `object_height_m` mean an empty table
    object_height_m: float = 0.008
    min_held_width_m: float = 0.0015  # narrower than this after closing: nothing is held
    max_slip_m: float = 0.004  # width lost during the lift, and once more when gripped anew: the object slips
    max_width_m: float = 0.08
    contact_tolerance_rad: float = 0.04  # an approach this far off its path has met something
    respawn_timeout_s: float = 60.0  # how long a lost node is waited for
    failed_grasps: FailedGraspsConfig = field(default_factory=FailedGraspsConfig)


class GraspFailed(Exception):
    """Internal: one attempt failed at `stage` for `reason`; the run goes on."""

    def __init__(self, stage: Stage, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage
        self.reason = reason


class ClearTable:
    """Runs the sequence once. `on_progress` is called at every stage change; `Cancelled` passes through."""

    def __init__(
        self,
        perception: Perception,
        planner: PickPlanner,
        arm: ArmPort,
        hand: HandPort,
        watch: Watch,
        config: ClearTableConfig | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._perception = perception
        self._planner = planner
        self._arm = arm
        self._hand = hand
        self._watch = watch
        self._config = config or ClearTableConfig()
        self._on_progress = on_progress
        self._attempts: list[Attempt] = []
        self._lost_since_s: float | None = None  # the first loss of those without an attempt between them
        self._failed = FailedGrasps(self._config.failed_grasps)
        self._carrying: PickPlan | None = None  # between a verified lift and the drop

    def run(self, max_objects: int = 0) -> Report:
        """Clears until empty, until `max_objects` are removed (0 = all) or until failures pile up."""
        streak = 0
        while streak < self._config.max_failures:
            try:
                attempt = self._next(drop=True)
            except NodeLost as lost:
                return self._report(Outcome.NODE_LOST, f"{lost}; it did not come back")
            if attempt is None:
                return self._report(Outcome.EMPTY, "no object is left in the workspace")
            streak = 0 if attempt.success else streak + 1
            if max_objects and sum(a.success for a in self._attempts) >= max_objects:
                return self._report(Outcome.EMPTY, f"the {max_objects} requested object(s) are in the bin")
        return self._report(Outcome.TOO_MANY_FAILURES, self._failure_message(streak))

    def pick(self, max_attempts: int = 0) -> tuple[Report, PickPlan | None]:
        """Picks one object and keeps it in the hand; the plan that worked, or None."""
        for _ in range(max_attempts or self._config.max_failures):
            try:
                attempt = self._next(drop=False)
            except NodeLost as lost:
                return self._report(Outcome.NODE_LOST, f"{lost}; it did not come back"), None
            if attempt is None:
                return self._report(Outcome.EMPTY, "no object is in the workspace"), None
            if attempt.success:
                return self._report(Outcome.EMPTY, "the object is in the hand"), self._carrying
        return self._report(Outcome.TOO_MANY_FAILURES, self._failure_message(len(self._attempts))), None

    def _next(self, *, drop: bool) -> Attempt | None:
        """One attempt, or None when the table is empty. NodeLost passes when the node does not come back."""
        while True:
            try:
                attempt = self._look_and_attempt(drop=drop)
            except NodeLost as lost:
                if not self._outlast(lost):
                    raise
                continue
            except MotionFailed as failed:
                attempt = self._record(False, Stage.RETURN, str(failed), None)
            except CloudError as fault:
                attempt = self._record(False, Stage.PERCEIVE, str(fault), None)
            self._lost_since_s = None
            return attempt

    def _look_and_attempt(self, *, drop: bool) -> Attempt | None:
        """An object still in the hand is dropped first."""
        if self._carrying is not None:
            return self._attempt_drop(self._carrying)
        self._return_to_observe()
        scene = self._look()
        return None if self._is_empty(scene) else self._attempt(scene, drop=drop)

    def _outlast(self, lost: NodeLost) -> bool:
        """Holds until the lost node is back; False when it stays away, or is lost again and again as long."""
        self._arm.hold()
        now_s = time.monotonic()
        self._lost_since_s = self._lost_since_s or now_s
        if now_s - self._lost_since_s > self._config.respawn_timeout_s:
            return False
        self._progress(Stage.WAIT, str(lost))
        return self._watch.wait_until_back(lost.node, self._config.respawn_timeout_s)

    def _failure_message(self, streak: int) -> str:
        last = self._attempts[-1].reason if self._attempts else ""
        return f"{streak} attempts in a row failed; the last one: {last}"

    def _attempt(self, scene: Scene, *, drop: bool) -> Attempt:
        plan: PickPlan | None = None
        try:
            plan = self._choose(scene)
            self._pick(plan)
        except GraspFailed as failed:
            return self._fail(failed.stage, failed.reason, plan)
        except MotionFailed as failed:
            return self._fail(Stage.REACH, str(failed), plan)
        self._carrying = plan
        return self._attempt_drop(plan) if drop else self._record(True, Stage.VERIFY, "", plan)

    def _attempt_drop(self, plan: PickPlan) -> Attempt:
        try:
            self._drop(plan)
        except GraspFailed as failed:
            self._carrying = None
            return self._fail(failed.stage, failed.reason, plan)
        except MotionFailed as failed:
            self._carrying = None
            return self._fail(Stage.DROP, str(failed), plan)
        self._carrying = None
        return self._record(True, Stage.DROP, "", plan)

    def _fail(self, stage: Stage, reason: str, plan: PickPlan | None) -> Attempt:
        if plan is not None:
            self._failed.add(plan.grasp, len(self._attempts))
        return self._record(False, stage, reason, plan)

    def _look(self) -> Scene:
        self._progress(Stage.PERCEIVE)
        return self._perception.look()

    def _is_empty(self, scene: Scene) -> bool:
        above = scene.cloud.xyz[:, 2] > self._config.object_height_m if len(scene.cloud) else np.zeros(0, bool)
        return int(np.count_nonzero(above)) < self._config.min_object_points

    def _choose(self, scene: Scene) -> PickPlan:
        """First candidate, best score first, that is not known to fail and has a motion plan."""
        self._progress(Stage.CHOOSE)
        now = len(self._attempts)
        fresh = [g for g in scene.grasps.executable if not self._failed.forbid(g, now)]
        if not fresh:
            total = len(scene.grasps.grasps)
            reasons = sorted({g.rejection for g in scene.grasps.grasps if g.rejection})
            raise GraspFailed(
                Stage.CHOOSE, f"no executable grasp among {total} candidates ({', '.join(reasons) or 'none'})"
            )
        self._progress(Stage.PLAN)
        q = self._arm.q()
        # Where attempts failed others come first: a stubborn object must not end the run before the easy ones.
        fresh.sort(key=lambda g: (self._failed.near(g), -g.score))
        last = ""
        for grasp in fresh[: self._config.plans_per_look]:
            try:
                return self._planner.plan_pick(q, grasp, scene.cloud)
            except (PlanningError, CloudError) as error:
                last = str(error)
        tried = min(len(fresh), self._config.plans_per_look)
        raise GraspFailed(Stage.PLAN, f"no motion plan for the best {tried} grasps; the last: {last}")

    def _pick(self, plan: PickPlan) -> None:
        config = self._config
        self._progress(Stage.REACH, f"score {plan.grasp.score:.2f}, width {plan.grasp.width_m * 1e3:.0f} mm")
        self._hand.open(opening_for(plan.grasp.width_m))
        self._arm.execute(plan.reach, "reach")
        self._progress(Stage.APPROACH)
        plan = self._approach(plan)
        self._progress(Stage.CLOSE)
        width = self._hand.close()
        self._progress(Stage.LIFT)
        self._arm.execute(plan.lift, "lift")
        self._progress(Stage.VERIFY)
        held = self._hand.width_m()
        if width - held > config.max_slip_m:
            # It turned between the fingers: grip it anew and see whether that holds.
            width, held = held, self._hand.close()
        if held < config.min_held_width_m:
            raise GraspFailed(Stage.VERIFY, f"nothing between the fingers after the lift ({held * 1e3:.1f} mm)")
        if width - held > config.max_slip_m:
            raise GraspFailed(
                Stage.VERIFY, f"the object slips: {width * 1e3:.1f} mm lifted, {held * 1e3:.1f} mm gripped anew"
            )

    def _approach(self, plan: PickPlan) -> PickPlan:
        """Goes in; stopped just before the end (the palm on the object), the hand closes where it is."""
        try:
            self._arm.execute(plan.approach, "approach", tolerance_rad=self._config.contact_tolerance_rad)
        except MotionBlocked as blocked:
            try:
                return self._planner.cut_short(plan, self._arm.q())
            except PlanningError:
                raise blocked from None
        return plan

    def _drop(self, plan: PickPlan) -> None:
        self._progress(Stage.DROP)
        index = sum(a.success for a in self._attempts)
        try:
            to_bin = self._planner.to_bin(self._arm.q(), index)
        except PlanningError as error:
            raise GraspFailed(Stage.DROP, f"no path to the bin: {error}") from error
        self._arm.execute(to_bin, "to the bin")
        held = self._hand.width_m()
        self._hand.open(self._config.max_width_m)
        if held < self._config.min_held_width_m:
            raise GraspFailed(Stage.DROP, f"the object was lost on the way to the bin ({held * 1e3:.1f} mm)")

    def _return_to_observe(self) -> None:
        last = self._attempts[-1] if self._attempts else None
        self._progress(Stage.RETURN, last.reason if last is not None else "")
        try:
            self._arm.execute(self._planner.to_observe(self._arm.q()), "to the observation pose")
        except PlanningError as error:
            raise MotionFailed(f"no path to the observation pose: {error}") from error
        self._hand.open(self._config.max_width_m)

    def _record(self, success: bool, stage: Stage, reason: str, plan: PickPlan | None) -> Attempt:
        attempt = Attempt(
            index=len(self._attempts),
            success=success,
            stage=stage,
            reason=reason,
            score=plan.grasp.score if plan else 0.0,
            width_m=plan.grasp.width_m if plan else 0.0,
        )
        self._attempts.append(attempt)
        return attempt

    def _report(self, outcome: Outcome, message: str) -> Report:
        self._progress(Stage.DONE, message)
        return Report(outcome, tuple(self._attempts), message)

    def _progress(self, stage: Stage, detail: str = "") -> None:
        removed = sum(a.success for a in self._attempts)
        self._on_progress(Progress(stage, len(self._attempts), removed, len(self._attempts) - removed, detail))
