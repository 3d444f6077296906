"""The environment of the built ROS 2 workspace, for shells that sourced nothing.

An overlay needs AMENT_PREFIX_PATH, PYTHONPATH and LD_LIBRARY_PATH before the interpreter starts, so an entry point
calls `enter_overlay`, which re-executes the process once with them. Nothing here imports ROS.
"""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

GUARD = "_SINEW_OVERLAY_PID"
"""Holds the id of the process that re-executed itself: exec keeps the id, children have another, so an inherited
guard never stops a child with an incomplete environment from completing it."""

_PATHS = ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH")
_NEEDED = ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


def workspace_install() -> Path:
    """Folder that colcon installs into: `ros2_ws/install` of this checkout, or SINEW_ROS2_INSTALL."""
    named = os.environ.get("SINEW_ROS2_INSTALL")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "ros2_ws" / "install"


def workspace_built(install: Path | None = None) -> bool:
    install = install or workspace_install()
    return (install / "sinew_interfaces" / "share" / "sinew_interfaces" / "package.dsv").is_file()


def overlay_paths(install: Path) -> dict[str, list[str]]:
    """Search-path entries of every package below `install`, read from the files that colcon wrote for shells."""
    entries: dict[str, list[str]] = {name: [] for name in _PATHS}
    for prefix in sorted(p for p in install.iterdir() if (p / "share" / p.name / "package.dsv").is_file()):
        _add(entries, "AMENT_PREFIX_PATH", str(prefix))
        for name, value in _prepends(prefix / "share" / prefix.name / "package.dsv", prefix):
            _add(entries, name, value)
    # Look-ups of the packages that came as wheels end in the virtual environment.
    _add(entries, "AMENT_PREFIX_PATH", sys.prefix)
    return entries


def with_overlay(environment: Mapping[str, str], install: Path | None = None) -> dict[str, str]:
    """A copy of `environment` in which the workspace can be imported; unchanged where it is not built."""
    install = install or workspace_install()
    out = dict(environment)
    if not workspace_built(install):
        return out
    for name, entries in overlay_paths(install).items():
        present = [p for p in out.get(name, "").split(os.pathsep) if p]
        missing = [p for p in entries if p not in present]
        if missing:
            out[name] = os.pathsep.join(missing + present)
    return out


def enter_overlay() -> None:
    """Re-executes this process, once, where the environment lacks the workspace. Call it before any output."""
    if not workspace_built() or os.environ.get(GUARD) == str(os.getpid()):
        return
    environment = with_overlay(os.environ)
    if all(environment.get(name) == os.environ.get(name) for name in _NEEDED):
        return
    environment[GUARD] = str(os.getpid())
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def without_overlay(environment: MutableMapping[str, str]) -> dict[str, str]:
    """A copy of `environment` for a foreign interpreter: neither our search paths nor the guards remain."""
    own = (str(Path(sys.prefix)), str(workspace_install().parent))
    out = {k: v for k, v in environment.items() if k not in (GUARD, "_ROS_WHEELS_BOOTSTRAP_COMPLETE")}
    for name in _PATHS:
        if name in out:
            kept = [p for p in out[name].split(os.pathsep) if p and not p.startswith(own)]
            out[name] = os.pathsep.join(kept)
    return {k: v for k, v in out.items() if v or k not in _PATHS}


def _prepends(dsv: Path, prefix: Path) -> Iterator[tuple[str, str]]:
    """(variable, absolute path) of one descriptor file and those that it sources."""
    if not dsv.is_file():
        return
    for line in dsv.read_text().splitlines():
        kind, _, rest = line.partition(";")
        if kind == "source":
            # A descriptor stands beside each hook that is named as a shell script.
            if rest.endswith(".dsv") or rest.endswith(".sh"):
                yield from _prepends((prefix / rest).with_suffix(".dsv"), prefix)
        elif kind.startswith("prepend-non-duplicate"):
            name, _, value = rest.partition(";")
            path = prefix / value if value else prefix
            if name in _PATHS and (path.exists() or kind == "prepend-non-duplicate"):
                yield name, str(path)


def _add(entries: dict[str, list[str]], name: str, value: str) -> None:
    if value not in entries[name]:
        entries[name].append(value)
