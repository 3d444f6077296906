"""Motions of one pick: reach, approach, lift, carry to the bin, return. Tool-independent of what runs them."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sinew_hardware.models.panda import HOME_Q
from sinew_hardware.planning.plan import Planner
from sinew_hardware.planning.scene import FREE, LIFT, Held, Target
from sinew_policies.common.errors import NoPlan, PlanningError, Unreachable
from sinew_policies.common.geometry import HAND_DEPTH_M, T_HAND_FROM_GRASP, apply, from_rt, inverse, rot_x, rot_z
from sinew_policies.common.jaw import opening_for
from sinew_policies.common.types import F64, Grasp, PointCloud, Trajectory


@dataclass(frozen=True)
class PickPlan:
    """Trajectories of one pick; each starts where the one before ends."""

    grasp: Grasp
    reach: Trajectory  # current configuration → pre-grasp, collision-free
    approach: Trajectory  # straight along the approach axis to the grasp
    lift: Trajectory  # straight up


@dataclass(frozen=True)
class PickSettings:
    approach_m: float = 0.09  # length of the straight approach
    lift_m: float = 0.16
    short_m: float = 0.02  # an approach stopped this close to the grasp can still be closed
    retreat_m: float = 0.10  # straight way out when a plan would start in collision
    escape_radius_m: float = 0.07  # around the fingertips: what they may touch on the straight way out
    target_radius_m: float = 0.05  # around the grasp: the cloud that the hand may touch
    held_radius_m: float = 0.045  # around the grasp: the cloud that leaves with the hand
    drop_height_m: float = 0.24  # of the fingertips over the table when they open above the bin
    bin_centre_m: tuple[float, float] = (0.42, 0.42)
    drop_spread_m: float = 0.05  # drops alternate around the bin's centre so that they do not tower


class PickMotions:
    """Plans over one scene. Not thread-safe."""

    def __init__(self, planner: Planner, settings: PickSettings | None = None) -> None:
        self._planner = planner
        self._settings = settings or PickSettings()
        self._held: tuple[Held, F64] | None = None

    def plan_pick(self, q: F64, grasp: Grasp, cloud: PointCloud) -> PickPlan:
        """Raises Unreachable or NoPlan, whichever the last of the hand's two symmetric poses met."""
        if not (np.isfinite(grasp.T_base_grasp).all() and np.isfinite(grasp.width_m)):
            raise Unreachable(
                f"the grasp is not finite: pose {grasp.T_base_grasp.tolist()}, width {grasp.width_m} m; "
                "choose another grasp"
            )
        s, scene = self._settings, self._planner.scene
        scene.detach()
        scene.set_obstacles(cloud.xyz)
        scene.set_width(opening_for(grasp.width_m))
        T_grasp = grasp.T_base_grasp
        middle = apply(T_grasp, np.array([[0.0, 0.0, HAND_DEPTH_M]]))[0]
        scene.set_target(Target(middle, s.target_radius_m))
        last: PlanningError = Unreachable("no hand pose was tried")
        for T_hand in self._hand_poses(T_grasp, q):
            try:
                plan = self._plan_one(q, grasp, T_hand)
            except PlanningError as error:
                last = error
                continue
            self._held = _held_points(cloud, T_hand, middle, s.held_radius_m), middle
            return plan
        raise last

    def cut_short(self, plan: PickPlan, q: F64) -> PickPlan:
        """The last planned pick with its approach ended at q, where something stopped it.

        Raises NoPlan when q is more than `short_m` from the grasp, or when no lift starts there.
        """
        T_hand = self._planner.kinematics.fk(q)
        left_m = float(np.linalg.norm(T_hand[:3, 3] - self._planner.kinematics.fk(plan.approach.q[-1])[:3, 3]))
        if left_m > self._settings.short_m:
            raise NoPlan(
                f"the hand stopped {left_m * 1e3:.0f} mm before the grasp; within "
                f"{self._settings.short_m * 1e3:.0f} mm it would close there: choose another grasp"
            )
        return replace(plan, lift=self._lift(q, T_hand))

    def to_bin(self, q: F64, drop_index: int) -> Trajectory:
        """Carries what the last planned pick grasped to a place above the bin, hand pointing down."""
        s, scene = self._settings, self._planner.scene
        angle = 2.4 * drop_index  # golden-angle steps: successive drops land apart
        radius = s.drop_spread_m * (drop_index % 4) / 3.0
        x = s.bin_centre_m[0] + radius * np.cos(angle)
        y = s.bin_centre_m[1] + radius * np.sin(angle)
        poses = tuple(
            from_rt(rot_x(np.pi) @ rot_z(yaw), [x, y, s.drop_height_m + HAND_DEPTH_M])
            for yaw in (0.0, np.pi / 2, np.pi, -np.pi / 2)
        )
        if self._held is not None:
            held, middle = self._held
            scene.attach(held, clear_radius_m=s.held_radius_m + 0.015, at=middle)
            # A held object that seems to touch its neighbours is carried as if the hand were empty.
            with contextlib.suppress(PlanningError):
                return self._planner.plan_to_pose(q, poses)
            scene.detach()
        return self._escaping(q, lambda start: self._planner.plan_to_pose(start, poses))

    def to_observe(self, q: F64) -> Trajectory:
        """Back to where the arm hides nothing from the scene camera."""
        self._planner.scene.detach()
        self._held = None
        if float(np.max(np.abs(q - HOME_Q))) < 0.01:
            return Trajectory(np.zeros(1), q[None], np.zeros((1, len(q))), np.zeros((1, len(q))))
        return self._escaping(q, lambda start: self._planner.plan_to_q(start, HOME_Q))

    def path_of(self, trajectory: Trajectory, *, every: int = 5) -> F64:
        """Fingertip positions (T, 3) in base along a trajectory, for display."""
        tip = np.array([[0.0, 0.0, HAND_DEPTH_M]])
        return np.concatenate([apply(self._planner.kinematics.fk(q), tip) for q in trajectory.q[::every]])

    def _hand_poses(self, T_grasp: F64, q: F64) -> list[F64]:
        """The two hand poses of a grasp (fingers swapped), the one nearer to the present wrist angle first."""
        T_hand = T_grasp @ inverse(T_HAND_FROM_GRASP)
        flipped = T_hand @ from_rt(rot_z(np.pi), np.zeros(3))
        found: list[tuple[float, F64]] = []
        for T in (T_hand, flipped):
            with contextlib.suppress(Unreachable):
                goal = self._planner.kinematics.solve(self._before(T), q)
                found.append((float(np.linalg.norm(goal - q)), T))
        if not found:
            self._planner.kinematics.solve(self._before(T_hand), q)  # raises with the residuals
        return [T for _, T in sorted(found, key=lambda item: item[0])]

    def _before(self, T_hand: F64) -> F64:
        return T_hand @ from_rt(np.eye(3), [0.0, 0.0, -self._settings.approach_m])

    def _plan_one(self, q: F64, grasp: Grasp, T_hand: F64) -> PickPlan:
        planner, scene = self._planner, self._planner.scene
        _, q_before = planner.kinematics.solve_any(
            (self._before(T_hand),), q, valid=lambda g: not scene.collides(g)
        )
        approach = planner.straight_line(q_before, T_hand)
        lift = self._lift(approach.q[-1], T_hand)
        reach = self._escaping(q, lambda start: planner.plan_to_q(start, q_before))
        return PickPlan(grasp, reach, approach, lift)

    def _lift(self, q: F64, T_hand: F64) -> Trajectory:
        last: PlanningError = NoPlan("no lift was tried")
        for height in (self._settings.lift_m, 0.75 * self._settings.lift_m):
            T_up = T_hand.copy()
            T_up[2, 3] += height
            try:
                return self._planner.straight_line(q, T_up, tolerance=LIFT)
            except PlanningError as error:
                last = error
        raise last

    def _escaping(self, q: F64, plan: Callable[[F64], Trajectory]) -> Trajectory:
        """`plan(q)`, or a straight way up and then `plan` from there when q is already in collision."""
        if not self._planner.scene.collides(q, FREE):
            return plan(q)
        T_hand = self._planner.kinematics.fk(q)
        up, back = T_hand.copy(), T_hand @ from_rt(np.eye(3), [0.0, 0.0, -self._settings.retreat_m])
        up[2, 3] += self._settings.retreat_m
        # Whatever the fingers stand in or against they may touch on their way out.
        fingertips = apply(T_hand, np.array([[0.0, 0.0, HAND_DEPTH_M]]))[0]
        self._planner.scene.set_target(Target(fingertips, self._settings.escape_radius_m))
        last: PlanningError = NoPlan("no way out was tried")
        for T_out in (back, up):
            try:
                out = self._planner.straight_line(q, T_out, tolerance=LIFT)
                return _joined(out, plan(out.q[-1]))
            except PlanningError as error:
                last = error
        raise last


def _held_points(cloud: PointCloud, T_hand: F64, middle: F64, radius_m: float) -> Held:
    """The cloud near the grasp in panda_hand, thinned to at most 40 balls."""
    near = cloud.xyz[np.linalg.norm(cloud.xyz - middle, axis=1) < radius_m].astype(np.float64)
    near = near[near[:, 2] > 0.006]
    in_hand = apply(inverse(T_hand), near)
    # What reaches up beside the palm belongs to a neighbour.
    in_hand = in_hand[in_hand[:, 2] > 0.07]
    step = max(1, len(in_hand) // 40)
    return Held(in_hand[::step], radius_m=0.006)


def _joined(first: Trajectory, second: Trajectory) -> Trajectory:
    """Second after first; both rest where they meet."""
    return Trajectory(
        np.concatenate([first.t_s, second.t_s[1:] + first.t_s[-1]]),
        np.concatenate([first.q, second.q[1:]]),
        np.concatenate([first.dq, second.dq[1:]]),
        np.concatenate([first.ddq, second.ddq[1:]]),
    )
