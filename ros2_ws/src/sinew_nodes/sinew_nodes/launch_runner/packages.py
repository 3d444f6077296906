"""Look-ups in the ament index of an environment: packages, their folders and their executables."""

import os
from collections.abc import Mapping
from pathlib import Path

from sinew_policies.common.errors import LaunchError, name_hint

_INDEX = Path("share/ament_index/resource_index/packages")


def prefix(package: str, environment: Mapping[str, str]) -> Path:
    """Install prefix of a package.

    Raises LaunchError naming the nearest packages.
    """
    known: list[str] = []
    for entry in _search(environment):
        index = entry / _INDEX
        if (index / package).exists():
            return entry
        if index.is_dir():
            known += [p.name for p in index.iterdir()]
    ours = [name for name in known if name.startswith("sinew")]
    raise LaunchError(
        f"package '{package}' is not in AMENT_PREFIX_PATH; {name_hint(package, ours or known)}. If it is new or "
        "the workspace was never built, run scripts/setup"
    )


def share(package: str, environment: Mapping[str, str]) -> Path:
    return prefix(package, environment) / "share" / package


def executable(package: str, name: str, environment: Mapping[str, str]) -> Path:
    """Path of `lib/<package>/<name>`.

    Raises LaunchError listing the package's executables.
    """
    folder = prefix(package, environment) / "lib" / package
    path = folder / name
    if path.is_file() and os.access(path, os.X_OK):
        return path
    there = [p.name for p in folder.iterdir() if os.access(p, os.X_OK)] if folder.is_dir() else []
    raise LaunchError(f"package '{package}' has no executable '{name}'; {name_hint(name, there)}")


def launch_file(package: str, name: str, environment: Mapping[str, str]) -> Path:
    """Path of a package's launch file; the ending `.launch.xml` may be left out.

    Raises LaunchError listing the package's launch files.
    """
    folder = share(package, environment) / "launch"
    for candidate in (name, f"{name}.launch.xml", f"{name}.xml"):
        if (folder / candidate).is_file():
            return folder / candidate
    there = launch_files(package, environment)
    raise LaunchError(f"package '{package}' has no launch file '{name}'; {name_hint(name, there)}")


def launch_files(package: str, environment: Mapping[str, str]) -> list[str]:
    """Names, without `.launch.xml`, of a package's launch files."""
    folder = share(package, environment) / "launch"
    return sorted(p.name.removesuffix(".launch.xml") for p in folder.glob("*.launch.xml"))


def _search(environment: Mapping[str, str]) -> list[Path]:
    return [Path(p) for p in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
