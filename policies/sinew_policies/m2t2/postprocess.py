"""From decoded candidates to a ranked grasp list in which every rejected grasp says why.

    assign_points      each point belongs to its most probable query
    rank_grasps        score = objectness · mask, then non-maximum suppression over poses, then a cap
    lean_away          more room on the side that the camera did not see
    refine             small moves along the approach that free the hand from table and cloud
    *_filter           mark `rejection`: one of REJECTIONS, nothing is deleted
    filter_grasps      all of these in order, executable grasps first

Poses are grasp frames (x closing, z approach) in the cloud's frame, whose z = table_z_m is the table top.
The published network has none of this (it returns every point of every mask).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinew_policies.common import jaw
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.geometry import HAND_DEPTH_M
from sinew_policies.common.jit import kernel
from sinew_policies.common.pointcloud import WORKSPACE
from sinew_policies.common.types import F32, F64, Grasp
from sinew_policies.m2t2 import hand_collision
from sinew_policies.m2t2.sampling import TABLE_HEIGHT_M

REJECTIONS = ("workspace", "approach", "table", "collision", "empty")


@dataclass(frozen=True)
class PostprocessConfig:
    """Lengths in metres, angles in radians."""

    nms_distance_m: float = 0.02  # between the middles of the contact lines
    nms_angle_rad: float = np.pi / 6
    max_grasps: int = 200
    max_per_object: int = 60
    workspace: tuple[tuple[float, float, float], tuple[float, float, float]] = WORKSPACE.expanded(0.02)
    max_upward_rad: float = np.pi / 18  # the approach may point this far above the horizontal
    table_z_m: float = 0.0
    table_clearance_m: float = 0.001  # between table and the lowest point of the hand
    table_noise_m: float = TABLE_HEIGHT_M  # cloud points below this height are table
    # This many points inside the hand are taken for noise. With 30,000 points and stereo noise, on training
    # objects, 4 rejects 5 % of free grasps and catches 85 % of colliding ones; 8 gives 2 % and 76 %. The rest
    # collides with sides that the camera did not see.
    collision_points: int = 4
    min_points_between: int = 8  # fewer points between the pads are nothing to hold
    near_clearance_m: float = 0.008  # of the open hand from the contact that was seen
    depths_m: tuple[float, ...] = (0.0, -0.0035, -0.007, 0.005, 0.01, 0.015, 0.02)  # tried by refine

    def __post_init__(self) -> None:
        if self.max_grasps < 1 or self.max_per_object < 1:
            raise ConfigError(
                f"max_grasps is {self.max_grasps}, max_per_object {self.max_per_object}; expected at least 1 each"
            )
        if not self.depths_m or 0.0 not in self.depths_m or max(abs(d) for d in self.depths_m) > 0.02:
            raise ConfigError(f"depths_m is {self.depths_m}; expected to hold 0 and values within ±0.02 m")
        if self.nms_distance_m < 0.0 or not 0.0 <= self.nms_angle_rad <= np.pi:
            raise ConfigError(
                f"nms_distance_m is {self.nms_distance_m}, nms_angle_rad {self.nms_angle_rad}; expected a distance "
                "of at least 0 and an angle within 0..π"
            )


def assign_points(
    masks: ArrayLike, kept: ArrayLike, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which point is decoded by which query: pairs (query, point), sorted by query, then point.

    masks (Q, N) probabilities; kept (Q,) booleans. Each point goes to the kept query with the highest
    probability, the lowest id on ties, if that exceeds `threshold`.
    """
    probability = np.where(np.asarray(kept, bool)[:, None], np.asarray(masks), -1.0)  # (Q, N)
    if probability.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    owner = probability.argmax(axis=0)  # (N,)
    point = np.flatnonzero(probability.max(axis=0) > threshold)
    order = np.argsort(owner[point], kind="stable")
    return owner[point[order]].astype(np.int64), point[order]


def rank_grasps(
    poses: ArrayLike,
    width_m: ArrayLike,
    confidence: ArrayLike,
    query: ArrayLike,
    contacts: ArrayLike,
    objectness: ArrayLike | None = None,
    config: PostprocessConfig | None = None,
) -> tuple[Grasp, ...]:
    """Candidates (K) as grasps, best first, near duplicates removed, capped per object and in all.

    poses (K, 4, 4), width_m (K,), confidence (K,) mask probability, query (K,) ids, contacts (K, 3),
    objectness (Q,) probabilities indexed by query id, None = 1. Where one contact was decoded for several
    queries the most confident one is taken. Candidates with non-finite numbers are dropped.
    """
    config = config or PostprocessConfig()
    T = np.asarray(poses, np.float64).reshape(-1, 4, 4)
    width, mask = np.asarray(width_m, np.float64), np.asarray(confidence, np.float64)
    owner, at = np.asarray(query, np.int64), np.asarray(contacts, np.float64).reshape(-1, 3)
    score = mask if objectness is None else mask * np.asarray(objectness, np.float64)[owner]
    usable = np.isfinite(T).all(axis=(1, 2)) & np.isfinite(width) & np.isfinite(score) & np.isfinite(at).all(axis=1)
    chosen = np.flatnonzero(usable)
    chosen = chosen[_most_confident_per_contact(at[chosen], mask[chosen])]
    # A stable sort of the negated score: equal scores keep the order of the candidates.
    chosen = chosen[np.argsort(-score[chosen], kind="stable")]
    kept = _suppress(
        np.ascontiguousarray(T[chosen]),
        owner[chosen],
        config.nms_distance_m**2,
        1.0 + 2.0 * np.cos(config.nms_angle_rad),
        config.max_grasps,
        config.max_per_object,
    )
    return tuple(Grasp(T[i], float(width[i]), float(score[i]), at[i], int(owner[i])) for i in chosen[kept])


def workspace_filter(grasps: Iterable[Grasp], bounds: ArrayLike = WORKSPACE) -> tuple[Grasp, ...]:
    """Rejects grasps whose contact line's middle is outside `bounds` (2, 3): 'workspace'."""
    lower, upper = np.asarray(bounds, np.float64)

    def outside(g: Grasp) -> bool:
        middle = contact_middle(g)
        return bool((middle < lower).any() or (middle > upper).any())

    return tuple(g.rejected("workspace") if not g.rejection and outside(g) else g for g in grasps)


def approach_filter(grasps: Iterable[Grasp], max_upward_rad: float = np.pi / 18) -> tuple[Grasp, ...]:
    """Rejects grasps that approach from below: 'approach'. 0 allows horizontal ones, π/2 all."""
    limit = np.sin(max_upward_rad) + 1e-9
    return tuple(g.rejected("approach") if not g.rejection and g.T_base_grasp[2, 2] > limit else g for g in grasps)


def gripper_collision_filter(
    grasps: Iterable[Grasp], xyz: F32, config: PostprocessConfig | None = None
) -> tuple[Grasp, ...]:
    """Rejects grasps whose open hand reaches into the table ('table') or the cloud ('collision'), on the last
    8 cm of its approach too, or has nothing between its fingers ('empty').

    xyz (N, 3): the dense cloud of the scene, robot removed; thresholds of `config` count its points.
    """
    config = config or PostprocessConfig()
    listed = list(grasps)
    open_ones = [i for i, g in enumerate(listed) if not g.rejection]
    if not open_ones:
        return tuple(listed)
    counts = _counts([listed[i] for i in open_ones], xyz, config, (0.0,))
    for row, i in enumerate(open_ones):
        reason = _reason(counts, row, 0, config)
        if reason:
            listed[i] = listed[i].rejected(reason)
    return tuple(listed)


def lean_away(grasps: Iterable[Grasp], near_clearance_m: float = 0.008) -> tuple[Grasp, ...]:
    """Shifts each open hand along its closing axis so that the finger at the seen contact has only
    `near_clearance_m` of room and the finger on the far side all the rest.

    Where the contact is was measured; where the object ends behind it is the network's guess, and a finger
    that comes down on an object wider than guessed ends the attempt. Closing centres the object again.
    """

    def shifted(g: Grasp) -> Grasp:
        room = (jaw.opening_for(g.width_m) - g.width_m) / 2.0 - near_clearance_m
        if g.rejection or room <= 0.0:
            return g
        T = g.T_base_grasp.copy()
        T[:3, 3] += room * T[:3, 0]
        return replace(g, T_base_grasp=T)

    return tuple(shifted(g) for g in grasps)


def refine(grasps: Iterable[Grasp], xyz: F32, config: PostprocessConfig | None = None) -> tuple[Grasp, ...]:
    """Moves grasps along their approach where that frees them; never rejects.

    Each grasp is first drawn back from the table as `jaw.clear_of_table` does. Of the depths of `config`,
    those are candidates at which the hand is free of table and cloud and has something between its fingers;
    the smallest move wins, of two equal ones the deeper. Without any, only the table's move stays.
    """
    return tuple(g for g, _ in _settle(grasps, xyz, config or PostprocessConfig()))


def filter_grasps(grasps: Iterable[Grasp], xyz: F32, config: PostprocessConfig | None = None) -> tuple[Grasp, ...]:
    """Approach, workspace, lean, refinement, hand against the cloud xyz (N, 3); executable ones first, by score."""
    config = config or PostprocessConfig()
    checked = approach_filter(grasps, config.max_upward_rad)
    checked = workspace_filter(checked, config.workspace)
    settled = [g.rejected(reason) if reason else g for g, reason in _settle(checked, xyz, config)]
    return tuple(sorted(settled, key=lambda g: (bool(g.rejection), -g.score)))


def contact_middle(grasp: Grasp) -> F64:
    """Middle of the contact line (3,), in the grasp's base frame."""
    T = grasp.T_base_grasp
    return T[:3, 3] + HAND_DEPTH_M * T[:3, 2]


def warm_up() -> None:
    """Compiles or loads the kernels, so that the first scene is as fast as the next."""
    grasps = rank_grasps(np.eye(4)[None], [0.04], [1.0], [0], np.zeros((1, 3)))
    filter_grasps(grasps, np.ones((1, 3), np.float32), PostprocessConfig(max_upward_rad=np.pi / 2))
    gripper_collision_filter(grasps, np.ones((1, 3), np.float32))


def _settle(grasps: Iterable[Grasp], xyz: F32, config: PostprocessConfig) -> list[tuple[Grasp, str]]:
    """Each grasp as `refine` leaves it, and what `gripper_collision_filter` would then say."""
    listed = list(grasps)
    reasons = [g.rejection for g in listed]
    open_ones = [i for i, reason in enumerate(reasons) if not reason]
    for i in open_ones:
        T = jaw.clear_of_table(listed[i].T_base_grasp, listed[i].width_m, table_z_m=config.table_z_m)
        listed[i] = replace(listed[i], T_base_grasp=T)
    if open_ones:
        at_rest = _counts([listed[i] for i in open_ones], xyz, config, (0.0,))
        for row, i in enumerate(open_ones):
            reasons[i] = _reason(at_rest, row, 0, config)
    # Most grasps are free where they are: only the others are searched.
    stuck = [i for i in open_ones if reasons[i]]
    depths = tuple(sorted((d for d in config.depths_m if d != 0.0), key=lambda d: (abs(d), -d)))
    if stuck and depths:
        counts = _counts([listed[i] for i in stuck], xyz, config, depths)
        for row, i in enumerate(stuck):
            for column, depth in enumerate(depths):
                if not _reason(counts, row, column, config):
                    T = listed[i].T_base_grasp.copy()
                    T[:3, 3] += depth * T[:3, 2]
                    listed[i], reasons[i] = replace(listed[i], T_base_grasp=T), ""
                    break
    return list(zip(listed, reasons, strict=True))


def _counts(
    grasps: list[Grasp], xyz: F32, config: PostprocessConfig, depths_m: tuple[float, ...]
) -> hand_collision.HandCounts:
    poses = np.stack([g.T_base_grasp for g in grasps])
    width = np.array([g.width_m for g in grasps])
    points = hand_collision.above_table(xyz, config.table_z_m, config.table_noise_m)
    limit = config.collision_points + 1
    return hand_collision.count_points(poses, width, points, depths_m=depths_m, limit=limit)


def _reason(counts: hand_collision.HandCounts, row: int, column: int, config: PostprocessConfig) -> str:
    if counts.lowest_z_m[row, column] < config.table_z_m + config.table_clearance_m:
        return "table"
    if counts.touching[row, column] > config.collision_points:
        return "collision"
    if counts.between[row, column] < config.min_points_between:
        return "empty"
    return ""


def _most_confident_per_contact(contacts: F64, mask: F64) -> NDArray[np.int64]:
    """Rows, ascending, that hold the highest mask probability of their contact; the earliest on ties."""
    order = np.lexsort((-mask, contacts[:, 2], contacts[:, 1], contacts[:, 0]))
    same = np.zeros(len(order), bool)
    same[1:] = (contacts[order[1:]] == contacts[order[:-1]]).all(axis=1)
    return np.sort(order[~same])


@kernel
def _suppress(poses, owner, max_d2, min_trace, cap, cap_per_owner):  # type: ignore[no-untyped-def]
    """Greedy: rows kept of poses (K, 4, 4) sorted best first."""
    n = poses.shape[0]
    kept = np.empty(min(n, cap), np.int64)
    middle = np.empty((min(n, cap), 3), np.float64)
    per_owner = np.zeros(owner.max() + 2 if n else 1, np.int64)
    count = 0
    for i in range(n):
        if count == cap:
            break
        if per_owner[owner[i]] >= cap_per_owner:
            continue
        A = poses[i]
        mx, my, mz = (
            A[0, 3] + HAND_DEPTH_M * A[0, 2],
            A[1, 3] + HAND_DEPTH_M * A[1, 2],
            A[2, 3] + HAND_DEPTH_M * A[2, 2],
        )
        duplicate = False
        for j in range(count):
            dx, dy, dz = mx - middle[j, 0], my - middle[j, 1], mz - middle[j, 2]
            if dx * dx + dy * dy + dz * dz >= max_d2:
                continue
            B = poses[kept[j]]
            x = A[0, 0] * B[0, 0] + A[1, 0] * B[1, 0] + A[2, 0] * B[2, 0]
            y = A[0, 1] * B[0, 1] + A[1, 1] * B[1, 1] + A[2, 1] * B[2, 1]
            z = A[0, 2] * B[0, 2] + A[1, 2] * B[1, 2] + A[2, 2] * B[2, 2]
            # Swapping the fingers (a half turn about the approach) negates x and y: the same grasp.
            if abs(x + y) + z > min_trace:
                duplicate = True
                break
        if not duplicate:
            kept[count] = i
            middle[count, 0], middle[count, 1], middle[count, 2] = mx, my, mz
            per_owner[owner[i]] += 1
            count += 1
    return kept[:count]
