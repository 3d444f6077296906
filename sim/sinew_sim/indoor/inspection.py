"""What a file of an indoor data set holds, in a few lines, and what is wrong with it."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sinew_policies.common.errors import ConfigError
from sinew_sim.indoor.episode_checks import find_problems
from sinew_sim.indoor.episode_reader import read_episodes
from sinew_sim.indoor.episode_split import scene_files
from sinew_sim.indoor.episodes import EpisodeFile
from sinew_sim.indoor.json_fields import read_json, shown
from sinew_sim.indoor.navmesh import NavMesh
from sinew_sim.indoor.navmesh_file import read_navmesh
from sinew_sim.indoor.scene_dataset import list_scenes, read_config
from sinew_sim.indoor.semantic_txt import read_semantic

KINDS = (".json.gz", ".json", ".navmesh", ".semantic.txt", ".scene_dataset_config.json")


@dataclass(frozen=True)
class Findings:
    """`facts` are (what, value) lines; `notes` are worth knowing; a file with `problems` is of no use as it is."""

    kind: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def inspect_file(path: Path, navmesh: Path | None = None) -> Findings:
    """Reads `path` whole; `navmesh` is the mesh that all episodes of an episode file are checked on.

    Raises DataError where it is damaged, ConfigError for a name that says no known kind.
    """
    name = path.name.lower()
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file in it that ends in one of {', '.join(KINDS)}")
    if name.endswith(".navmesh"):
        return _navmesh(path)
    if name.endswith(".semantic.txt"):
        return _semantic(path)
    if name.endswith(".scene_dataset_config.json"):
        return _config(path)
    if name.endswith((".json.gz", ".json")):
        return _episodes(path, navmesh)
    raise ConfigError(f"{path} is of no known kind; expected a name that ends in one of {', '.join(KINDS)}")


def _navmesh(path: Path) -> Findings:
    file = read_navmesh(path)
    mesh = NavMesh(file, str(path))
    stored = sum(len(t.polys) for t in file.tiles)
    facts = [
        ("version", f"{file.version}, {len(file.tiles)} tiles"),
        ("polygons", f"{mesh.polygons.count} walkable of {stored}"),
        ("vertices", str(sum(len(t.vertices) for t in file.tiles))),
    ]
    if file.settings is not None:
        s = file.settings
        facts.append(
            (
                "agent",
                f"radius {s['agent_radius']:.2f} m, height {s['agent_height']:.2f} m; cell {s['cell_size']:.3f} m",
            )
        )
    if mesh.polygons.count == 0:
        return Findings("navigation mesh", tuple(facts), problems=("no polygon is walkable; generate it again",))
    low, high = mesh.bounds_m
    islands = np.sort(mesh.island_areas_m2)[::-1]
    facts += [
        ("area", f"{mesh.area_m2:.2f} m2"),
        ("islands", f"{len(islands)}: {', '.join(f'{a:.2f}' for a in islands[:5])}{' …' * (len(islands) > 5)} m2"),
        ("bounds", f"{_metres(low)} to {_metres(high)} m, x right, y up, -z forward"),
    ]
    jumps = sum(len(t.off_mesh) for t in file.tiles)
    notes = (f"{jumps} off-mesh connections are not followed",) if jumps else ()
    return Findings("navigation mesh", tuple(facts), notes)


def _semantic(path: Path) -> Findings:
    scene = read_semantic(path)
    categories = scene.categories()
    common = ", ".join(f"{_plain(name)} {n}" for name, n in list(categories.items())[:8])
    facts = (
        ("instances", str(len(scene.instances))),
        ("categories", f"{len(categories)}: {common}{' …' * (len(categories) > 8)}"),
        ("regions", str(len({i.region for i in scene.instances}))),
    )
    notes = tuple(
        f"instances {', '.join(map(str, ids[:6]))} share a colour: their pixels cannot be told apart"
        for ids in scene.shared_colours()[:5]
    )
    return Findings("semantic.txt", facts, notes)


def _config(path: Path) -> Findings:
    config = read_config(path)
    scenes = list_scenes(path, config)
    a = config.stage_defaults
    patterns = sum(len(p) for p in config.stage_globs.values())
    have = {what: sum(getattr(s, what) is not None for s in scenes.values()) for what in _SCENE_PARTS}
    facts = (
        ("patterns", f"{patterns} for {', '.join(config.stage_globs)}"),
        ("axes", f"up {list(a.up)}, front {list(a.front)}"),
        ("scenes", f"{len(scenes)} with a mesh here"),
        *((f"  {what.replace('_', ' ')}", f"{n} of {len(scenes)}") for what, n in have.items()),
    )
    notes = (
        ()
        if scenes
        else ("no scene lies where the patterns point; docs/indoor_data.md says which folder goes where",)
    )
    return Findings("scene data set configuration", facts, notes)


_SCENE_PARTS = ("navmesh", "semantic_mesh", "semantic_txt")


def _episodes(path: Path, navmesh: Path | None) -> Findings:
    file = read_episodes(path)
    facts = [("task", file.task.value), ("episodes", str(len(file.episodes)))]
    if not file.episodes:
        return _split(path, facts)
    scenes = Counter(e.scene_name for e in file.episodes)
    shown_scenes = ", ".join(f"{_plain(s)} {n}" for s, n in scenes.most_common(5))
    facts.append(("scenes", f"{len(scenes)}: {shown_scenes}{' …' * (len(scenes) > 5)}"))
    facts += _goal_facts(file)
    lengths = [e.geodesic_distance_m for e in file.episodes if e.geodesic_distance_m is not None]
    finite = sorted(d for d in lengths if math.isfinite(d))
    if finite:
        facts.append(
            ("distance", f"{finite[0]:.2f} to {finite[-1]:.2f} m, median {finite[len(finite) // 2]:.2f} m")
        )
    if navmesh is not None and len(scenes) > 1:
        raise ConfigError(
            f"{path} holds {len(scenes)} scenes; --navmesh needs a file with one, such as content/X.json.gz"
        )
    ground = None if navmesh is None else NavMesh.read(navmesh)
    found = find_problems(file, ground)
    kinds = Counter(p.reason for p in found)
    problems = [f"{n} of {len(file.episodes)} episodes: {reason.replace('_', ' ')}" for reason, n in kinds.items()]
    problems += [f"  e.g. episode {_plain(p.episode_id)}: {p.message}" for p in found[:3]]
    return Findings("episodes", tuple(facts), problems=tuple(problems))


def _split(path: Path, facts: list[tuple[str, str]]) -> Findings:
    content = scene_files(path)
    if content:
        facts.append(("content", f"{len(content)} scene files: {', '.join(_plain(c) for c in list(content)[:5])}"))
        return Findings(
            "split without episodes of its own", tuple(facts), ("inspect the content files one by one",)
        )
    unknown = sorted(key for key, _ in read_json(path).members())
    return Findings(
        "episodes", tuple(facts), problems=(f"no episodes and no content folder beside it (fields: {unknown[:8]})",)
    )


def _goal_facts(file: EpisodeFile) -> list[tuple[str, str]]:
    if not file.goals:
        return []
    goals = [g for group in file.goals.values() for g in group]
    views = sum(len(g.view_points) for g in goals)
    facts = [("goals", f"{len(goals)} under {len(file.goals)} keys, {views} view points")]
    photos = sum(len(g.image_goals) for g in goals)
    if photos:
        facts.append(("photos", str(photos)))
    if file.attributes:
        facts.append(("described", f"{len(file.attributes)} objects"))
    categories = Counter(g.object_category for g in goals)
    listed = ", ".join(f"{_plain(c)} {n}" for c, n in categories.most_common(8))
    return [*facts, ("categories", f"{len(categories)}: {listed}{' …' * (len(categories) > 8)}")]


def _plain(text: str) -> str:
    """Names from a file, safe for a terminal."""
    return shown(text, 40)[1:-1] if len(text) <= 40 else shown(text, 40)


def _metres(p: np.ndarray) -> str:
    return f"({', '.join(f'{v:.2f}' for v in p)})"
