"""Ten seconds of every frame's pose in its parent, looked up at any time within. No ROS in here.

Error classes and codes are those of tf2_msgs/TF2Error.
"""

import threading
import time
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from sinew_policies.common import geometry
from sinew_policies.common.errors import DataError, name_hint
from sinew_policies.common.types import F64

DEFAULT_HISTORY_S = 10.0


class TransformError(DataError):
    code = 6


class LookupFailed(TransformError):
    """A frame is not known at all."""

    code = 1


class ConnectivityError(TransformError):
    """Both frames are known but no chain joins them."""

    code = 2


class ExtrapolationError(TransformError):
    """The time lies outside what the buffer holds."""

    code = 3


class InvalidArgument(TransformError):
    code = 4


class TransformTimeout(TransformError):
    code = 5


@dataclass(order=True, frozen=True)
class _Sample:
    t_ns: int
    t: F64 = field(compare=False)  # (3,)
    q: F64 = field(compare=False)  # (4,) xyzw


class TransformBuffer:
    """Thread-safe. Frame names are taken without a leading slash."""

    def __init__(self, history_s: float = DEFAULT_HISTORY_S) -> None:
        self._history_ns = int(history_s * 1e9)
        self._parents: dict[str, str] = {}
        self._static: dict[str, _Sample] = {}
        self._moving: dict[str, list[_Sample]] = {}
        self._changed = threading.Condition()

    def put(self, parent: str, child: str, T_parent_child: F64, t_ns: int, *, static: bool = False) -> None:
        """Raises InvalidArgument for a frame without name, its own parent, or numbers that are not finite."""
        self.put_all([(parent, child, T_parent_child, t_ns)], static=static)

    def put_all(self, items: Iterable[tuple[str, str, F64, int]], *, static: bool = False) -> None:
        checked = [_checked(*item) for item in items]
        with self._changed:
            for parent, child, sample in checked:
                self._parents[child] = parent
                if static:
                    self._static[child] = sample
                else:
                    self._append(child, sample)
            self._changed.notify_all()

    def clear(self) -> None:
        """Forgets everything that moves, e.g. when simulated time jumps back."""
        with self._changed:
            self._moving.clear()

    @property
    def frames(self) -> tuple[str, ...]:
        with self._changed:
            return tuple(sorted({*self._parents, *self._parents.values()}))

    def lookup(self, target: str, source: str, t_ns: int = 0, timeout_s: float = 0.0) -> F64:
        """T_target_source (4, 4): maps coordinates of `source` into `target` at `t_ns` (0: the newest common time).

        Waits up to `timeout_s` (monotonic) for it to become possible. Raises LookupFailed, ConnectivityError,
        ExtrapolationError.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                try:
                    return self._lookup(target, source, t_ns)
                except TransformError:
                    left = deadline - time.monotonic()
                    if left <= 0.0:
                        raise
                    self._changed.wait(left)

    def can_transform(self, target: str, source: str, t_ns: int = 0, timeout_s: float = 0.0) -> bool:
        try:
            self.lookup(target, source, t_ns, timeout_s)
        except TransformError:
            return False
        return True

    def newest_ns(self, target: str, source: str) -> int:
        """The newest time at which both frames can be joined; 0 when only static frames lie between."""
        with self._changed:
            up, down = self._chains(target.lstrip("/"), source.lstrip("/"))
            return self._newest(up + down)

    def _append(self, child: str, sample: _Sample) -> None:
        track = self._moving.setdefault(child, [])
        if track and sample.t_ns <= track[-1].t_ns:
            if sample.t_ns < track[-1].t_ns - self._history_ns:
                track.clear()  # time went back: the old future is void
                track.append(sample)
                return
            place = bisect_left(track, sample)
            if place < len(track) and track[place].t_ns == sample.t_ns:
                track[place] = sample
            else:
                insort(track, sample)
            return
        track.append(sample)
        oldest = sample.t_ns - self._history_ns
        if track[0].t_ns < oldest - 1_000_000_000:  # trim in batches
            del track[: bisect_left(track, oldest, key=lambda s: s.t_ns)]

    def _lookup(self, target: str, source: str, t_ns: int) -> F64:
        up, down = self._chains(target, source)
        if t_ns == 0:
            t_ns = self._newest(up + down)
        T_root_target = self._compose(up, t_ns)
        T_root_source = self._compose(down, t_ns)
        return geometry.inverse(T_root_target) @ T_root_source

    def _chains(self, target: str, source: str) -> tuple[list[str], list[str]]:
        """Children on the way from each frame up to their lowest common ancestor."""
        names = {*self._parents, *self._parents.values()}
        for frame in (target, source):
            if frame not in names:
                raise LookupFailed(
                    f"frame '{frame}' is unknown; is its publisher running? {name_hint(frame, names)}"
                )
        up, ancestors = self._to_root(target)
        down, others = self._to_root(source)
        common = next((a for a in ancestors if a in others), None)
        if common is None:
            raise ConnectivityError(
                f"frames '{target}' and '{source}' are not connected: they belong to the trees of "
                f"'{ancestors[-1]}' and '{others[-1]}'; a transform between these is missing"
            )
        return up[: ancestors.index(common)], down[: others.index(common)]

    def _to_root(self, frame: str) -> tuple[list[str], list[str]]:
        """(children whose transform is used, frames visited from `frame` to its root)."""
        children, frames = [], [frame]
        while (parent := self._parents.get(frames[-1])) is not None:
            if parent in frames:
                raise ConnectivityError(f"frames form a loop: {' -> '.join([*frames, parent])}")
            children.append(frames[-1])
            frames.append(parent)
        return children, frames

    def _newest(self, children: list[str]) -> int:
        ends = [self._moving[c][-1].t_ns for c in children if c not in self._static and self._moving.get(c)]
        return min(ends, default=0)

    def _compose(self, children: list[str], t_ns: int) -> F64:
        """T_ancestor_frame for the chain frame → … → ancestor given as its children, lowest first."""
        T = np.eye(4)
        for child in children:
            T = self._at(child, t_ns) @ T
        return T

    def _at(self, child: str, t_ns: int) -> F64:
        sample = self._static.get(child)
        if sample is None:
            track = self._moving.get(child)
            if not track:
                raise LookupFailed(f"frame '{child}' has no transform to '{self._parents[child]}' any more")
            if not track[0].t_ns <= t_ns <= track[-1].t_ns:
                late = (t_ns - track[-1].t_ns) * 1e-9
                where = (
                    f"{late:.3f} s after the newest"
                    if late > 0
                    else f"{(track[0].t_ns - t_ns) * 1e-9:.3f} s before the oldest"
                )
                raise ExtrapolationError(
                    f"transform of '{child}' at {t_ns * 1e-9:.3f} s lies {where}; the buffer holds "
                    f"{track[0].t_ns * 1e-9:.3f} to {track[-1].t_ns * 1e-9:.3f} s; wait for it or ask for time 0"
                )
            i = bisect_left(track, t_ns, key=lambda s: s.t_ns)
            sample = track[i]
            if sample.t_ns != t_ns:
                sample = _between(track[i - 1], sample, t_ns)
        return geometry.from_rt(geometry.matrix_from_quat(sample.q), sample.t)


def _between(a: _Sample, b: _Sample, t_ns: int) -> _Sample:
    u = (t_ns - a.t_ns) / (b.t_ns - a.t_ns)
    return _Sample(t_ns, a.t + u * (b.t - a.t), geometry.slerp(a.q, b.q, u))


def _checked(parent: str, child: str, T: F64, t_ns: int) -> tuple[str, str, _Sample]:
    parent, child = parent.lstrip("/"), child.lstrip("/")
    if not parent or not child:
        raise InvalidArgument(f"transform from '{child}' to '{parent}' needs two frame names")
    if parent == child:
        raise InvalidArgument(f"frame '{child}' cannot be its own parent")
    if not np.isfinite(T).all():
        raise InvalidArgument(f"transform from '{child}' to '{parent}' is not finite")
    return parent, child, _Sample(t_ns, T[:3, 3].copy(), geometry.quat_from_matrix(T[:3, :3]))
