"""Forward and inverse kinematics of the Panda hand: mink's quadratic programme with random restarts."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import mink
import mujoco
import numpy as np

from sinew_hardware.models.panda import HAND_BODY, HOME_Q, JOINT_NAMES, LIMITS, build_arm
from sinew_policies.common.errors import Unreachable
from sinew_policies.common.geometry import rotation_angle
from sinew_policies.common.types import F64

Valid = Callable[[F64], bool]


@dataclass(frozen=True)
class IkSettings:
    position_tol_m: float = 2e-4
    rotation_tol_rad: float = 2e-3
    iterations: int = 30  # per start; five are the median
    restarts: int = 12
    limit_margin_rad: float = 0.03  # solutions keep this far inside the joint limits
    posture_cost: float = 2e-3  # pull towards the reference within the null space
    enough: int = 3  # stop collecting alternatives after so many valid solutions
    near_rad: float = 1.2  # a solution whose largest joint step from the reference is below is taken at once


class Kinematics:
    """FK and IK of `panda_hand` in `base_link`. Not thread-safe: it owns one scratch state."""

    def __init__(self, rng: np.random.Generator, settings: IkSettings | None = None) -> None:
        self.settings = settings or IkSettings()
        self._rng = rng
        spec = mujoco.MjSpec()
        build_arm(spec, visual=False, collision=False)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._hand_id = self._model.body(HAND_BODY).id
        self._narrow = spec.compile()
        margin = self.settings.limit_margin_rad
        for name in JOINT_NAMES:  # mink keeps its steps inside the range of its own model
            self._narrow.joint(name).range += [margin, -margin]
        self._configuration = mink.Configuration(self._narrow)
        self._frame = mink.FrameTask(HAND_BODY, "body", position_cost=1.0, orientation_cost=0.3)
        self._posture = mink.PostureTask(self._narrow, cost=self.settings.posture_cost)
        self._mink_limits = [mink.ConfigurationLimit(self._narrow)]
        self._lower = LIMITS.lower + margin
        self._upper = LIMITS.upper - margin

    def fk(self, q: F64) -> F64:
        """T_base_hand (4, 4) at joint angles q (7,) rad."""
        self._data.qpos[: len(JOINT_NAMES)] = q
        mujoco.mj_kinematics(self._model, self._data)
        T = np.eye(4)
        T[:3, :3] = self._data.xmat[self._hand_id].reshape(3, 3)
        T[:3, 3] = self._data.xpos[self._hand_id]
        return T

    def solve(
        self,
        T_base_hand: F64,
        reference: F64 = HOME_Q,
        *,
        valid: Valid | None = None,
        restarts: int | None = None,
    ) -> F64:
        """Joint angles (7,) that put the hand at T_base_hand, inside the limits and, of those found, nearest
        to `reference`. `valid` rejects configurations, e.g. those in collision.

        Raises Unreachable with the residual of the best attempt.
        """
        return self.solve_any((T_base_hand,), reference, valid=valid, restarts=restarts)[1]

    def solve_any(
        self,
        targets: tuple[F64, ...],
        reference: F64 = HOME_Q,
        *,
        valid: Valid | None = None,
        restarts: int | None = None,
    ) -> tuple[int, F64]:
        """As `solve` for whichever target is nearest to reach, e.g. a grasp and its half turn about z.

        Returns the target's index and the joint angles.
        """
        for T in targets:
            _check_pose(T)
        reference = np.clip(reference, self._lower, self._upper)
        tries = self.settings.restarts if restarts is None else restarts
        found: list[tuple[float, int, F64]] = []
        best = (np.inf, np.inf, np.inf)
        blocked = 0
        for attempt in range(tries + 1):
            for index, T in enumerate(targets):
                start = reference if attempt == 0 else self._restart(reference, attempt)
                q, position_m, rotation_rad = self._descend(T, start, reference)
                best = min(best, (position_m + 0.1 * rotation_rad, position_m, rotation_rad))
                if position_m > self.settings.position_tol_m or rotation_rad > self.settings.rotation_tol_rad:
                    continue
                if valid is not None and not valid(q):
                    blocked += 1
                    continue
                found.append((float(np.max(np.abs(q - reference))), index, q))
            if found and (min(found)[0] < self.settings.near_rad or len(found) >= self.settings.enough):
                break
        if found:
            _, index, q = min(found, key=lambda item: item[0])
            return index, q
        raise Unreachable(_unreachable_message(targets[0], best[1], best[2], tries + 1, blocked))

    def along(self, poses: list[F64], start: F64, *, max_step_rad: float = 0.15) -> F64:
        """Joint angles (P, 7) that follow `poses` continuously from `start`; raises Unreachable.

        No restarts: a jump to another arm configuration would leave the straight line.
        """
        path = [np.asarray(start, dtype=np.float64)]
        for number, T in enumerate(poses):
            q, position_m, rotation_rad = self._descend(T, path[-1], path[-1])
            if position_m > self.settings.position_tol_m or rotation_rad > self.settings.rotation_tol_rad:
                what = f"{position_m * 1e3:.1f} mm and {np.degrees(rotation_rad):.1f}° remain"
            elif number > 0 and np.max(np.abs(q - path[-1])) > max_step_rad:
                what = f"the joints jump by {np.max(np.abs(q - path[-1])):.2f} rad"
            else:
                path.append(q)
                continue
            raise Unreachable(
                f"the straight line is not reachable: at sample {number + 1} of {len(poses)} {what}; "
                "choose another arm configuration at its start, or a shorter line"
            )
        return np.array(path[1:])

    def _restart(self, reference: F64, attempt: int) -> F64:
        uniform = self._rng.uniform(self._lower, self._upper)
        near = reference + self._rng.normal(0.0, 0.6, len(reference))
        # The first restarts stay close, where the nearest solution most likely is.
        start = near if attempt % 3 else uniform
        clipped: F64 = np.clip(start, self._lower, self._upper)
        return clipped

    def _descend(self, T: F64, start: F64, reference: F64) -> tuple[F64, float, float]:
        n = len(JOINT_NAMES)
        configuration = self._configuration
        full = np.array(configuration.q)
        full[:n] = np.clip(start, self._lower, self._upper)
        posture = np.array(full)
        posture[:n] = reference
        self._posture.set_target(posture)
        self._frame.set_target(mink.SE3.from_matrix(T))
        configuration.update(full)
        position_m, rotation_rad = np.inf, np.inf
        stalled = 0
        for iteration in range(self.settings.iterations):
            # The posture pull is dropped for the last steps, so that it leaves no residual in the pose.
            rough = position_m > 0.02 and iteration < 8
            tasks = [self._frame, self._posture] if rough else [self._frame]
            try:
                velocity = mink.solve_ik(configuration, tasks, 1.0, "daqp", damping=1e-6, limits=self._mink_limits)
            except mink.MinkError:
                break
            step = velocity * min(1.0, 0.6 / max(float(np.max(np.abs(velocity[:n]))), 1e-9))
            configuration.integrate_inplace(step, 1.0)
            before = position_m + 0.1 * rotation_rad
            position_m, rotation_rad = self._residual(T)
            if position_m < 0.2 * self.settings.position_tol_m and (
                rotation_rad < 0.2 * self.settings.rotation_tol_rad
            ):
                break
            stalled = stalled + 1 if position_m + 0.1 * rotation_rad > 0.97 * before else 0
            if stalled >= 3:
                break
        return np.array(configuration.q[:n]), position_m, rotation_rad

    def _residual(self, T: F64) -> tuple[float, float]:
        R = self._configuration.data.xmat[self._hand_id].reshape(3, 3)
        delta = self._configuration.data.xpos[self._hand_id] - T[:3, 3]
        return float(np.linalg.norm(delta)), rotation_angle(R.T @ T[:3, :3])


def line_poses(T_from: F64, T_to: F64, step_m: float = 0.005, step_rad: float = 0.02) -> list[F64]:
    """Poses (4, 4) on the straight line between two poses, first one included, rotation about one axis."""
    axis_angle = _log(T_from[:3, :3].T @ T_to[:3, :3])
    distance = float(np.linalg.norm(T_to[:3, 3] - T_from[:3, 3]))
    count = max(1, int(np.ceil(max(distance / step_m, float(np.linalg.norm(axis_angle)) / step_rad))))
    poses = []
    for u in np.linspace(0.0, 1.0, count + 1):
        T = np.eye(4)
        T[:3, :3] = T_from[:3, :3] @ mink.SO3.exp(u * axis_angle).as_matrix()
        T[:3, 3] = (1.0 - u) * T_from[:3, 3] + u * T_to[:3, 3]
        poses.append(T)
    return poses


def largest_gap_rad(path: F64) -> float:
    """Largest joint step between successive rows of a path (P, J)."""
    return max((float(np.max(np.abs(b - a))) for a, b in pairwise(path)), default=0.0)


def _log(R: F64) -> F64:
    log: F64 = np.asarray(mink.SO3.from_matrix(R).log(), dtype=np.float64)
    return log


def _check_pose(T: F64) -> None:
    T = np.asarray(T)
    if T.shape != (4, 4) or not np.all(np.isfinite(T)):
        raise Unreachable(f"target pose has shape {T.shape} or non-finite entries; expected a finite (4, 4)")
    R = T[:3, :3]
    if np.abs(R.T @ R - np.eye(3)).max() > 1e-4 or np.linalg.det(R) < 0.0:
        raise Unreachable("target pose has no rotation matrix in its upper left corner; normalise it first")


def _unreachable_message(T: F64, position_m: float, rotation_rad: float, tries: int, blocked: int) -> str:
    x, y, z = T[:3, 3]
    head = f"no joint angles put panda_hand at ({x:.3f}, {y:.3f}, {z:.3f}) m in base_link"
    if blocked:
        return (
            f"{head} without collision: {blocked} of {tries} solutions found were blocked; "
            "choose another approach direction or a pose farther from obstacles"
        )
    reach = float(np.linalg.norm(T[:3, 3] - [0.0, 0.0, 0.333]))
    return (
        f"{head}: the best of {tries} attempts left {position_m * 1e3:.1f} mm and "
        f"{np.degrees(rotation_rad):.1f}°; the pose is {reach:.2f} m from the shoulder (reach about 0.85 m); "
        "move the target nearer or turn the hand"
    )
