"""Collision-free joint paths: a straight move if it is free, else OMPL's RRTConnect, then shortcuts."""

import threading
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import numpy as np
from ompl import base as ob
from ompl import geometric as og
from ompl import util as ou

from sinew_hardware.models.panda import LIMITS
from sinew_policies.common.errors import NoPlan
from sinew_policies.common.types import F64

Collides = Callable[[F64], bool]

_RANGE_RAD = 0.6
_RESOLUTION_RAD = 0.03  # of the search; the path is checked at `fine_rad` afterwards
_seed_lock = threading.Lock()
_seeded = False


def seed_planner(seed: int) -> None:
    """Seeds OMPL once per process, before its first query; later calls have no effect."""
    global _seeded
    with _seed_lock:
        if not _seeded:
            ou.setLogLevel(ou.LOG_NONE)
            ou.RNG.setSeed(seed % (2**31 - 1) + 1)
            _seeded = True


def edge_free(a: F64, b: F64, collides: Collides, step_rad: float) -> bool:
    """Whether the straight joint segment (a, b] is free at steps of `step_rad`, coarse samples first."""
    count = max(1, int(np.ceil(float(np.max(np.abs(b - a))) / step_rad)))
    # Bisection order finds a collision in the middle of a segment much sooner than a walk along it.
    return not any(collides(a + (b - a) * (k / count)) for k in _bisection(count))


def plan_path(
    start: F64,
    goal: F64,
    collides: Collides,
    rng: np.random.Generator,
    *,
    timeout_s: float = 1.0,
    fine_rad: float = 0.0087,
) -> F64:
    """Polyline (P, 7) from start to goal, free at `fine_rad` (0.5°); raises NoPlan after `timeout_s`."""
    seed_planner(int(rng.integers(2**31)))
    if edge_free(start, goal, collides, fine_rad):
        return np.array([start, goal])
    deadline = time.monotonic() + timeout_s
    attempts = 0
    while True:
        attempts += 1
        left = deadline - time.monotonic()
        path = _rrt_connect(start, goal, collides, left) if left > 0.0 else None
        if path is None:
            raise NoPlan(
                f"no collision-free path within {timeout_s:.1f} s ({attempts} attempts, largest joint move "
                f"{np.max(np.abs(goal - start)):.2f} rad); choose another goal, clear obstacles or raise timeout_s"
            )
        path = _shortcut(path, collides, rng, min(0.1, max(0.02, 0.3 * (deadline - time.monotonic()))))
        if all(edge_free(a, b, collides, fine_rad) for a, b in pairwise(path)):
            return path


def _rrt_connect(start: F64, goal: F64, collides: Collides, timeout_s: float) -> F64 | None:
    dof = len(start)
    space = ob.RealVectorStateSpace(dof)
    bounds = ob.RealVectorBounds(dof)
    for i in range(dof):
        # Start and goal may sit a little outside the planning margin, never outside the limits.
        bounds.setLow(i, float(min(LIMITS.lower[i] + 0.02, start[i], goal[i])))
        bounds.setHigh(i, float(max(LIMITS.upper[i] - 0.02, start[i], goal[i])))
    space.setBounds(bounds)
    scratch = np.empty(dof)

    def free(state: ob.State) -> bool:
        for i in range(dof):
            scratch[i] = state[i]
        return not collides(scratch)

    information = ob.SpaceInformation(space)
    information.setStateValidityChecker(free)
    information.setStateValidityCheckingResolution(_RESOLUTION_RAD / space.getMaximumExtent())
    information.setup()
    problem = ob.ProblemDefinition(information)
    first, last = space.allocState(), space.allocState()
    for i in range(dof):
        first[i], last[i] = float(start[i]), float(goal[i])
    problem.setStartAndGoalStates(first, last)
    planner = og.RRTConnect(information)
    planner.setRange(_RANGE_RAD)
    planner.setProblemDefinition(problem)
    planner.setup()
    if planner.solve(timeout_s) != ob.PlannerStatus.EXACT_SOLUTION:
        return None
    states = problem.getSolutionPath().getStates()
    return np.array([[state[i] for i in range(dof)] for state in states])


def _shortcut(path: F64, collides: Collides, rng: np.random.Generator, budget_s: float) -> F64:
    """Replaces pieces of the path by straight segments while that stays free and the budget lasts."""
    deadline = time.monotonic() + budget_s
    points = list(path)
    index = 0
    while index < len(points) - 2:  # greedy: from each vertex to the farthest one visible
        for far in range(len(points) - 1, index + 1, -1):
            if edge_free(points[index], points[far], collides, _RESOLUTION_RAD):
                del points[index + 1 : far]
                break
        index += 1
        if time.monotonic() > deadline:
            break
    fails = 0
    while len(points) > 2 and fails < 30 and time.monotonic() < deadline:
        cut = _cut(points, rng)
        if cut is None:
            fails += 1
            continue
        i, a, j, b = cut
        saved = _length([points[i], *points[i + 1 : j + 1], points[j + 1]]) - _length(
            [points[i], a, b, points[j + 1]]
        )
        if saved > 0.01 and edge_free(a, b, collides, _RESOLUTION_RAD):
            points[i + 1 : j + 1] = [a, b]
            fails = 0
        else:
            fails += 1
    return _merge(np.array(points))


def _cut(points: list[F64], rng: np.random.Generator) -> tuple[int, F64, int, F64] | None:
    i, j = sorted(int(k) for k in rng.integers(0, len(points) - 1, 2))
    if i == j:
        return None
    a = points[i] + rng.uniform() * (points[i + 1] - points[i])
    b = points[j] + rng.uniform() * (points[j + 1] - points[j])
    return i, a, j, b


def _length(points: list[F64]) -> float:
    return float(sum(np.linalg.norm(b - a) for a, b in pairwise(points)))


def _merge(points: F64) -> F64:
    """Drops vertices closer than 1 mrad to their predecessor; the last one stays."""
    keep = [points[0]]
    for point in points[1:-1]:
        if np.max(np.abs(point - keep[-1])) > 1e-3:
            keep.append(point)
    keep.append(points[-1])
    return np.array(keep)


@lru_cache(maxsize=512)
def _bisection(count: int) -> tuple[int, ...]:
    order, stride = [count], 1
    while stride < count:
        stride *= 2
    seen = {count}
    while stride >= 1:
        for k in range(stride, count, stride):
            if k not in seen:
                seen.add(k)
                order.append(k)
        stride //= 2
    return tuple(order)
