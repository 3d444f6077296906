"""The planner: a goal in, a checked jerk-limited trajectory out."""

from dataclasses import dataclass, replace

import numpy as np

from sinew_hardware.models.panda import HOME_Q, LIMITS
from sinew_hardware.planning.kinematics import Kinematics, line_poses
from sinew_hardware.planning.rrt import plan_path
from sinew_hardware.planning.scene import APPROACH, FREE, PlanningScene, Tolerance
from sinew_hardware.planning.trajectory import time_parameterise
from sinew_policies.common.errors import NoPlan, Unreachable
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64, Trajectory


@dataclass(frozen=True)
class PlannerSettings:
    speed: float = 0.6  # fraction of velocity, acceleration and jerk limits
    line_speed: float = 0.3  # the same along straight lines, near objects
    timeout_s: float = 1.0  # of the search
    search_clearance_m: float = 0.012  # the search keeps farther away than the checks demand
    check_step_rad: float = 0.0087  # 0.5°
    line_deviation_m: float = 0.002  # of the hand from a straight line


class Planner:
    """Plans for one arm in one scene. Not thread-safe; give each thread its own."""

    def __init__(
        self, scene: PlanningScene | None = None, *, seed: int = 0, settings: PlannerSettings | None = None
    ) -> None:
        self.scene = scene or PlanningScene()
        self.settings = settings or PlannerSettings()
        self.kinematics = Kinematics(stream(seed, "ik"))
        self._rng = stream(seed, "planner")

    def plan_to_q(
        self, q_from: F64, q_to: F64, *, tolerance: Tolerance = FREE, speed: float | None = None
    ) -> Trajectory:
        """Collision-free trajectory between joint angles (7,), from rest to rest.

        Raises Unreachable for a goal outside the limits or in collision, NoPlan when no path is found or the
        start is in collision.
        """
        q_from, q_to = _checked_q(q_from, "start"), _checked_q(q_to, "goal")
        self._require_free(q_from, q_to, tolerance)
        path = self._search(q_from, q_to, tolerance)
        return self._timed(path, tolerance, speed or self.settings.speed)

    def plan_to_pose(
        self,
        q_from: F64,
        T_base_hand: F64 | tuple[F64, ...],
        *,
        tolerance: Tolerance = FREE,
        speed: float | None = None,
        reference: F64 | None = None,
    ) -> Trajectory:
        """Collision-free trajectory that ends with panda_hand at T_base_hand (or at the nearest of several).

        The arm configuration is the one nearest to `reference` (default: the start). Raises Unreachable, NoPlan.
        """
        targets = T_base_hand if isinstance(T_base_hand, tuple) else (T_base_hand,)
        _, q_to = self.kinematics.solve_any(
            targets,
            q_from if reference is None else reference,
            valid=lambda q: not self.scene.collides(q, tolerance),
        )
        return self.plan_to_q(q_from, q_to, tolerance=tolerance, speed=speed)

    def straight_line(
        self,
        q_from: F64,
        T_to: F64,
        *,
        tolerance: Tolerance = APPROACH,
        speed: float | None = None,
    ) -> Trajectory:
        """Moves panda_hand on the straight line from its pose at `q_from` to T_to (4, 4), for approach and lift.

        Raises Unreachable when the arm cannot follow the line without changing its configuration, NoPlan when
        something blocks it.
        """
        q_from = _checked_q(q_from, "start")
        T_from = self.kinematics.fk(q_from)
        poses = line_poses(T_from, T_to)
        path = np.concatenate([q_from[None], self.kinematics.along(poses[1:], q_from)])
        blocked = self.scene.first_collision(path, tolerance, self.settings.check_step_rad)
        if blocked is not None:
            what = self.scene.explain(path[min(blocked + 1, len(path) - 1)], tolerance) or "between samples"
            raise NoPlan(
                f"the straight line is blocked after {blocked} of {len(path) - 1} steps: {what}; "
                "approach from another direction or clear the way"
            )
        fraction = speed or self.settings.line_speed
        for corner_speed in (1.0, 0.5, 0.25, 0.1):
            trajectory = time_parameterise(path, scale=fraction, corner_speed=corner_speed)
            if (
                self._line_deviation(trajectory.q, T_from, T_to) <= self.settings.line_deviation_m
                and self.scene.first_collision(trajectory.q, tolerance, self.settings.check_step_rad) is None
            ):
                return trajectory
        raise NoPlan(
            f"the timed line leaves the straight one by more than {self.settings.line_deviation_m * 1e3:.0f} mm; "
            "choose another arm configuration at its start"
        )

    def pose_reachable(self, T_base_hand: F64, reference: F64 = HOME_Q, *, restarts: int = 2) -> bool:
        """Quick test for ranking grasps: IK within limits, collisions ignored."""
        try:
            self.kinematics.solve(T_base_hand, reference, restarts=restarts)
        except Unreachable:
            return False
        return True

    def _require_free(self, q_from: F64, q_to: F64, tolerance: Tolerance) -> None:
        blocked = self.scene.explain(q_from, tolerance)
        if blocked:
            raise NoPlan(f"the start is in collision: {blocked}; move away along a straight line first")
        blocked = self.scene.explain(q_to, tolerance)
        if blocked:
            raise Unreachable(f"the goal is in collision: {blocked}; choose another goal or clear the way")

    def _search(self, q_from: F64, q_to: F64, tolerance: Tolerance) -> F64:
        wide = replace(tolerance, clearance_m=max(tolerance.clearance_m, self.settings.search_clearance_m))
        # Start and goal themselves may lie nearer to something than the search likes.
        roomy = not self.scene.collides(q_from, wide) and not self.scene.collides(q_to, wide)
        used = wide if roomy else tolerance
        return plan_path(
            q_from,
            q_to,
            lambda q: self.scene.collides(q, used),
            self._rng,
            timeout_s=self.settings.timeout_s,
            fine_rad=self.settings.check_step_rad,
        )

    def _timed(self, path: F64, tolerance: Tolerance, speed: float) -> Trajectory:
        """Times the path and checks what timing made of it; slower corners are rounded less."""
        for corner_speed in (1.0, 0.6, 0.35) if len(path) > 2 else (1.0,):
            trajectory = time_parameterise(path, scale=speed, corner_speed=corner_speed)
            if self._motion_free(trajectory.q, tolerance):
                return trajectory
        trajectory = time_parameterise(path, scale=speed, stop_at_corners=True)
        blocked = self.scene.first_collision(trajectory.q, tolerance, self.settings.check_step_rad)
        if blocked is None:
            return trajectory
        raise NoPlan(
            f"the timed motion collides at {trajectory.t_s[blocked]:.2f} s: "
            f"{self.scene.explain(trajectory.q[blocked], tolerance) or 'between samples'}; plan again"
        )

    def _motion_free(self, q: F64, tolerance: Tolerance) -> bool:
        if np.any(q < LIMITS.lower) or np.any(q > LIMITS.upper):
            return False
        return self.scene.first_collision(q, tolerance, self.settings.check_step_rad) is None

    def _line_deviation(self, samples: F64, T_from: F64, T_to: F64) -> float:
        """Largest distance in metres of the hand's origin from the line through both poses."""
        origin, way = T_from[:3, 3], T_to[:3, 3] - T_from[:3, 3]
        length = float(np.linalg.norm(way))
        worst = 0.0
        for q in samples[::3]:
            offset = self.kinematics.fk(q)[:3, 3] - origin
            if length > 1e-9:
                offset = offset - way * float(np.clip(offset @ way / length**2, 0.0, 1.0))
            worst = max(worst, float(np.linalg.norm(offset)))
        return worst


def _checked_q(q: F64, what: str) -> F64:
    q = np.asarray(q, dtype=np.float64)
    if q.shape != LIMITS.lower.shape or not np.all(np.isfinite(q)):
        raise Unreachable(f"{what} joint angles are {q.tolist()}; expected {len(LIMITS.lower)} finite numbers")
    # Measured angles may pass a limit by the servo's error; such a start is pulled back inside.
    slack = 5e-3
    outside = np.flatnonzero((q < LIMITS.lower - slack) | (q > LIMITS.upper + slack))
    if len(outside):
        j = int(outside[0])
        raise Unreachable(
            f"{what}: panda_joint{j + 1} is {q[j]:.3f} rad; expected {LIMITS.lower[j]:.3f} to "
            f"{LIMITS.upper[j]:.3f}; choose angles inside the limits"
        )
    clipped: F64 = np.clip(q, LIMITS.lower, LIMITS.upper)
    return clipped
