"""What makes a well-formed episode useless: goals that are missing, out of reach or where the robot starts."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_sim.indoor.episodes import Episode, EpisodeFile, Task
from sinew_sim.indoor.json_fields import printable
from sinew_sim.indoor.navmesh import NavMesh, Targets

SAME_PLACE_M = 1e-3


@dataclass(frozen=True)
class EpisodeProblem:
    episode_id: str
    scene_id: str
    reason: str  # short machine-readable word
    message: str


def find_problems(file: EpisodeFile, ground: NavMesh | None = None) -> tuple[EpisodeProblem, ...]:
    """The first problem of each useless episode; `ground`, the scene's mesh, also tells reach in truth.

    Without it, reach is what the file's geodesic_distance says. All episodes must lie in the scene of `ground`.
    """
    ids = Counter((e.scene_id, e.episode_id) for e in file.episodes)
    reach = None if ground is None else _Reach(file, ground, {})
    found = []
    for episode in file.episodes:
        fault = next(_faults(file, episode, ids[episode.scene_id, episode.episode_id], reach), None)
        if fault is not None:
            found.append(EpisodeProblem(episode.episode_id, episode.scene_id, *fault))
    return tuple(found)


def require_sound(file: EpisodeFile, ground: NavMesh | None = None) -> None:
    """Raises DataError naming the useless episodes, the first five of them in words."""
    problems = find_problems(file, ground)
    if problems:
        lines = [
            f"  episode {printable(p.episode_id)} of {printable(p.scene_id)}: {p.message}" for p in problems[:5]
        ]
        more = [f"  and {len(problems) - 5} more"] if len(problems) > 5 else []
        raise DataError(
            "\n".join([f"{len(problems)} of {len(file.episodes)} episodes cannot be evaluated:", *lines, *more])
            + "\nload with on_problem='skip' to leave them out"
        )


@dataclass(frozen=True)
class _Reach:
    """The mesh, and the goals snapped to it so far: episodes share them."""

    file: EpisodeFile
    ground: NavMesh
    snapped: dict[str, Targets]

    def distance_m(self, e: Episode) -> float:
        key = e.episode_id if self.file.task is Task.POINT else self.file.goal_key(e)
        if self.file.task is Task.POINT or key not in self.snapped:
            self.snapped[key] = self.ground.targets(self.file.targets(e))
        return self.ground.geodesic(e.start_position, self.snapped[key])


def _faults(file: EpisodeFile, e: Episode, same_id: int, reach: _Reach | None) -> Iterator[tuple[str, str]]:
    if same_id > 1:
        yield (
            "duplicate_id",
            f"{same_id} episodes of this scene have the id {printable(e.episode_id)}; renumber them",
        )
    try:
        targets = file.targets(e)
    except DataError as fault:
        yield "no_goal", str(fault)
        return
    if len(targets) == 0:
        yield "no_goal", "none of its goals has a place to reach (no goal or no view point)"
        return
    distance = e.geodesic_distance_m
    if distance is not None and math.isinf(distance):
        yield "unreachable_goal", f"geodesic_distance is {distance}: no way leads to its goal"
    if distance is not None and distance < 0.0:
        yield "negative_length", f"geodesic_distance is {distance:g} m; expected 0 or more"
    nearest = float(np.linalg.norm(targets - np.array(e.start_position), axis=1).min())
    if (distance is not None and distance < SAME_PLACE_M) or nearest < SAME_PLACE_M:
        length = nearest if distance is None else distance
        yield "zero_length", f"it starts at its goal (shortest way {length:.4f} m): SPL is undefined"
    if reach is not None:
        if not reach.ground.is_navigable(e.start_position):
            yield "start_off_mesh", f"its start {_place(e.start_position)} is not on the navigation mesh"
        elif math.isinf(reach.distance_m(e)):
            yield "unreachable_goal", f"no way on the navigation mesh leads to any of its {len(targets)} targets"


def _place(p: tuple[float, float, float]) -> str:
    return f"({p[0]:.3f}, {p[1]:.3f}, {p[2]:.3f})"
