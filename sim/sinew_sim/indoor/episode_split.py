"""A split of a data set: one file with all episodes, or one without any beside `content/<scene>.json.gz`."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_sim.indoor.episode_checks import find_problems, require_sound
from sinew_sim.indoor.episode_reader import read_episodes
from sinew_sim.indoor.episode_writer import write_episodes
from sinew_sim.indoor.episodes import EpisodeFile, Task, renumbered
from sinew_sim.indoor.json_fields import shown

_LOG = logging.getLogger("sinew.indoor")
_CONTENT = "{data_path}/content/{scene}.json.gz"


def scene_files(split: Path) -> dict[str, Path]:
    """Scene name -> file for a split file with a content folder beside it; empty where it has none.

    Raises DataError for a damaged split file and for a `content_scenes_path` that leads out of its folder.
    """
    return _content_files(split, read_episodes(split))


def load_split(
    split: Path,
    *,
    scenes: Sequence[str] | None = None,
    task: Task | None = None,
    on_problem: Literal["refuse", "skip"] = "refuse",
) -> Iterator[EpisodeFile]:
    """The files of a split, one at a time so that only one is in memory, episodes numbered 0, 1, … per file.

    `split` is e.g. `val/val.json.gz`. `scenes` picks by name. Episodes that cannot be evaluated
    (`episode_checks`) are refused, or left out with a warning each; the others keep their number. Raises
    ConfigError for unknown scenes, DataError for damaged files and for a split without episodes.
    """
    head = read_episodes(split, task=task)
    files = _content_files(split, head)
    known = set(files) or {e.scene_name for e in head.episodes}
    unknown = sorted(set(scenes or ()) - known)
    if unknown:
        raise ConfigError(f"{split} has no scene '{unknown[0]}'; {name_hint(unknown[0], known)}")
    if not files:
        if not head.episodes:
            raise DataError(
                f"{split} has no episodes and no content folder beside it; unpack the whole archive of the data set"
            )
        chosen = tuple(e for e in renumbered(head).episodes if scenes is None or e.scene_name in scenes)
        yield _sound(replace(head, episodes=chosen), split, on_problem)
        return
    # A bare {"episodes": []} says nothing of the task; the content files tell it then.
    kind = head.task if task is not None or head.task is not Task.POINT else None
    for name, path in files.items():
        if scenes is None or name in scenes:
            file = renumbered(read_episodes(path, task=kind))
            if file.episodes:
                yield _sound(file, path, on_problem)


def write_split(split: Path, files: Sequence[EpisodeFile]) -> None:
    """Writes `content/<scene>.json.gz` for each file, which must hold one scene each, then the empty split file.

    Raises DataError where a file has no episode or several scenes.
    """
    for file in files:
        names = {e.scene_name for e in file.episodes}
        if len(names) != 1:
            raise DataError(f"a content file holds the scenes {sorted(names)}; expected exactly one each")
        write_episodes(file, split.parent / "content" / f"{names.pop()}.json.gz")
    if not files:
        raise DataError("a split of no files cannot be written; give at least one")
    write_episodes(replace(files[0], episodes=(), goals={}, attributes={}, content_scenes_path=None), split)


def _content_files(split: Path, head: EpisodeFile) -> dict[str, Path]:
    pattern = head.content_scenes_path or _CONTENT
    before, placeholder, after = pattern.partition("{scene}")
    folder = split.parent / before.removeprefix("{data_path}").lstrip("/")
    below = before.startswith("{data_path}/") and before.endswith("/") and ".." not in Path(before).parts
    if not (placeholder and below and after and "/" not in after and "\0" not in pattern):
        raise DataError(
            f"{split}: content_scenes_path is {shown(pattern)}; expected a path below the split's own folder, "
            f"such as '{_CONTENT}'"
        )
    return {f.name.removesuffix(after): f for f in sorted(folder.glob("*")) if f.name.endswith(after)}


def _sound(file: EpisodeFile, path: Path, on_problem: Literal["refuse", "skip"]) -> EpisodeFile:
    if on_problem == "refuse":
        try:
            require_sound(file)
        except DataError as fault:
            raise DataError(f"{path}: {fault}") from fault
        return file
    problems = {p.episode_id: p for p in find_problems(file)}
    for problem in problems.values():
        _LOG.warning("%s: episode %s left out: %s", path, problem.episode_id, problem.message)
    return replace(file, episodes=tuple(e for e in file.episodes if e.episode_id not in problems))
