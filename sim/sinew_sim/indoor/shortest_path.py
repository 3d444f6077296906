"""Exact shortest paths over convex polygons (Cui, Harabor and Grastien, "Compromise-free Pathfinding on a
Navigation Mesh", IJCAI 2017).

A search node is an interval of a portal together with its root, the last place where the path turned: the root
sees the whole interval. Nodes leave the queue by a lower bound of the whole length, so that the first goal to come
out is nearest; no corridor is fixed first, as a funnel over the polygon graph would need.

What is in sight is decided in the plane (x, z), as in Detour; lengths are measured in space, from
turn to turn, so that a straight stretch over the foot of a ramp counts as its chord. Habitat measures the same way.
"""

import heapq
import math
from dataclasses import dataclass
from itertools import pairwise

from sinew_policies.common.errors import DataError
from sinew_sim.indoor.json_fields import Vec3
from sinew_sim.indoor.navmesh_polygons import Polygons

_EPS = 1e-9
_NODES_PER_PORTAL = 500  # far beyond any building; ends the search in a mesh that folds over itself


@dataclass(frozen=True)
class Path:
    length_m: float  # along the points, in space
    points: tuple[Vec3, ...]  # start, turns, goal
    goal: int  # which of the goals


@dataclass(frozen=True, slots=True)
class _Root:
    """A place where the path turns, and how it got there."""

    place: Vec3
    cost: float  # metres from the start
    before: "_Root | None"


@dataclass(frozen=True, slots=True)
class _Interval:
    """Part of a portal, seen from a root. A turn of -1: the path does not turn round this end."""

    portal: int
    left: Vec3
    right: Vec3
    left_turn: int
    right_turn: int


class PathFinder:
    """Searches the portals of one mesh."""

    def __init__(self, polygons: Polygons) -> None:
        # Lists of Python numbers: single look-ups are much faster in them than in arrays.
        portals = polygons.portals
        self.first: list[int] = portals.first.tolist()
        self.source: list[int] = portals.source.tolist()
        self.target: list[int] = portals.target.tolist()
        self.left: list[Vec3] = [(x, y, z) for x, y, z in portals.left.tolist()]
        self.right: list[Vec3] = [(x, y, z) for x, y, z in portals.right.tolist()]
        self.left_turn: list[int] = portals.left_turn.tolist()
        self.right_turn: list[int] = portals.right_turn.tolist()

    def shortest(self, polygon: int, start: Vec3, goals: list[tuple[int, Vec3]]) -> Path | None:
        """From `start` in `polygon` to the nearest of `goals`, each with its polygon; None: no way.

        Raises DataError where the mesh folds over itself so that the search would not end.
        """
        return _Search(self, goals).run(polygon, start) if goals else None


class _Search:
    def __init__(self, mesh: PathFinder, goals: list[tuple[int, Vec3]]) -> None:
        self._mesh = mesh
        self._goals: dict[int, list[tuple[int, Vec3]]] = {}
        for index, (polygon, place) in enumerate(goals):
            self._goals.setdefault(polygon, []).append((index, place))
        # All goals lie in this circle: one bound serves them all.
        places = [place for _, place in goals]
        self._centre: Vec3 = (sum(p[0] for p in places) / len(places), 0.0, sum(p[2] for p in places) / len(places))
        self._radius = max(_planar(p, self._centre) for p in places)
        self._queue: list[tuple[float, int, _Root, _Interval | tuple[int, Vec3]]] = []
        self._pushed = 0
        self._best_turn: dict[int, float] = {}  # least cost of a turn
        self._best_seen: dict[tuple[float, float, int, float, float], float] = {}

    def run(self, polygon: int, start: Vec3) -> Path | None:
        self._see_all(polygon, _Root(start, 0.0, None), back=-1)
        limit = _NODES_PER_PORTAL * (len(self._mesh.target) + 1)
        while self._queue:
            _, _, root, seen = heapq.heappop(self._queue)
            if isinstance(seen, tuple):
                return _path(root, seen)
            if _side(root.place, seen.right, seen.left) > _EPS:
                self._look_through(root, seen)
            else:
                self._look_along(root, seen)
            if self._pushed > limit:
                raise DataError(
                    f"no shortest path after {self._pushed} steps over {len(self._mesh.target)} portals: the "
                    "polygons of this navigation mesh lie over each other; fetch the file again"
                )
        return None

    def _look_through(self, root: _Root, seen: _Interval) -> None:
        """Portals and goals of the polygon behind the interval: in sight, or round one of its ends."""
        mesh, place, left, right = self._mesh, root.place, seen.left, seen.right
        polygon, back = mesh.target[seen.portal], mesh.source[seen.portal]
        round_left = self._turned(root, left, seen.left_turn)
        round_right = self._turned(root, right, seen.right_turn)
        for index, goal in self._goals.get(polygon, ()):
            if _side(place, right, goal) < -_EPS:
                self._push_goal(_moved(root, right), index, goal)
            elif _side(place, left, goal) > _EPS:
                self._push_goal(_moved(root, left), index, goal)
            else:
                self._push_goal(root, index, goal)
        for portal in range(mesh.first[polygon], mesh.first[polygon + 1]):
            if mesh.target[portal] == back:
                continue  # turning back in a convex polygon never pays
            start, end = mesh.right[portal], mesh.left[portal]
            # Positive to the left of the rays through the ends of the interval.
            r0, r1 = _side(place, right, start), _side(place, right, end)
            l0, l1 = _side(place, left, start), _side(place, left, end)
            low = 1.0 if r1 <= _EPS else 0.0 if r0 >= -_EPS else r0 / (r0 - r1)
            high = 0.0 if l0 >= -_EPS else 1.0 if l1 <= _EPS else l0 / (l0 - l1)
            if round_right is not None and low > 0.0:
                self._push(round_right, portal, 0.0, low)
            if round_left is not None and high < 1.0:
                self._push(round_left, portal, high, 1.0)
            self._push(root, portal, low, high)

    def _look_along(self, root: _Root, seen: _Interval) -> None:
        """The root lies on the line of the interval: within it, all is in sight; else the nearer end sees all."""
        place, left, right = root.place, seen.left, seen.right
        along = (left[0] - place[0]) * (right[0] - place[0]) + (left[2] - place[2]) * (right[2] - place[2])
        if along > _EPS:
            root = _moved(root, left if _planar(place, left) < _planar(place, right) else right)
        self._see_all(self._mesh.target[seen.portal], root, back=self._mesh.source[seen.portal])

    def _see_all(self, polygon: int, root: _Root, back: int) -> None:
        for index, goal in self._goals.get(polygon, ()):
            self._push_goal(root, index, goal)
        for portal in range(self._mesh.first[polygon], self._mesh.first[polygon + 1]):
            if self._mesh.target[portal] != back:
                self._push(root, portal, 0.0, 1.0)

    def _turned(self, root: _Root, place: Vec3, turn: int) -> _Root | None:
        """The root at the end of an interval; None where no path turns or a shorter one has turned there."""
        if turn < 0:
            return None
        moved = _moved(root, place)
        if moved.cost > self._best_turn.get(turn, math.inf) + _EPS:
            return None
        self._best_turn[turn] = min(moved.cost, self._best_turn.get(turn, math.inf))
        return moved

    def _push(self, root: _Root, portal: int, low: float, high: float) -> None:
        """The part of `portal` from `low` to `high`, 0 its right end and 1 its left one."""
        mesh = self._mesh
        if not low < high:
            return
        polygon = mesh.target[portal]
        if mesh.first[polygon + 1] - mesh.first[polygon] == 1 and polygon not in self._goals:
            return  # a dead end
        key = (root.place[0], root.place[2], portal, low, high)
        if root.cost >= self._best_seen.get(key, math.inf) - _EPS:
            return
        self._best_seen[key] = root.cost
        start, end = mesh.right[portal], mesh.left[portal]
        seen = _Interval(
            portal,
            left=end if high >= 1.0 else _between(start, end, high),
            right=start if low <= 0.0 else _between(start, end, low),
            left_turn=mesh.left_turn[portal] if high >= 1.0 else -1,
            right_turn=mesh.right_turn[portal] if low <= 0.0 else -1,
        )
        self._pushed += 1
        bound = root.cost + max(0.0, _least(root.place, seen, self._centre) - self._radius)
        heapq.heappush(self._queue, (bound, self._pushed, root, seen))

    def _push_goal(self, root: _Root, index: int, goal: Vec3) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (root.cost + math.dist(root.place, goal), self._pushed, root, (index, goal)))


def _path(root: _Root, goal: tuple[int, Vec3]) -> Path:
    points = [goal[1]]
    step: _Root | None = root
    while step is not None:
        if step.before is None or step.place != points[-1]:
            points.append(step.place)
        step = step.before
    points.reverse()
    return Path(sum(math.dist(a, b) for a, b in pairwise(points)), tuple(points), goal[0])


def _moved(root: _Root, place: Vec3) -> _Root:
    return _Root(place, root.cost + math.dist(root.place, place), root)


def _least(place: Vec3, seen: _Interval, goal: Vec3) -> float:
    """Planar length from `place` through the interval to `goal`, mirrored where it must return, walls or not."""
    left, right = seen.left, seen.right
    line_x, line_z = left[0] - right[0], left[2] - right[2]
    square = line_x * line_x + line_z * line_z
    here, there = _side(right, left, place), _side(right, left, goal)
    x, z = goal[0], goal[2]
    if here * there > 0.0:
        shift = 2.0 * there / square
        x, z = x + shift * line_z, z - shift * line_x
    mirrored = (x, 0.0, z)
    if abs(here) <= _EPS:
        return _planar(place, mirrored)
    if _side(place, right, mirrored) < 0.0:
        return _planar(place, right) + _planar(right, mirrored)
    if _side(place, left, mirrored) > 0.0:
        return _planar(place, left) + _planar(left, mirrored)
    return _planar(place, mirrored)


def _side(a: Vec3, b: Vec3, p: Vec3) -> float:
    """Positive where `p` lies to the left of the ray from `a` through `b`, twice the triangle's area."""
    return (b[0] - a[0]) * (p[2] - a[2]) - (b[2] - a[2]) * (p[0] - a[0])


def _planar(a: Vec3, b: Vec3) -> float:
    return math.hypot(b[0] - a[0], b[2] - a[2])


def _between(a: Vec3, b: Vec3, t: float) -> Vec3:
    return (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2]))
