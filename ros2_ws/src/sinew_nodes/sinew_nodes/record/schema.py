"""Full ros2msg schema text of a message type: its definition and, after separators, those of every type it uses.

Read from the installed packages' share folders, so our own interfaces and overlays are covered.
"""

import re
from functools import cache
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from sinew_policies.common.errors import ConfigError

_SEPARATOR = "=" * 80
_PRIMITIVES = frozenset(
    {"bool", "byte", "char", "string", "wstring", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")


@cache
def ros2msg_schema(type_name: str) -> bytes:
    """Schema of e.g. `sensor_msgs/msg/Image`. Raises ConfigError when the definition is not installed."""
    root = _definition(type_name)
    texts, queue, seen = [root], _dependencies(type_name, root), {type_name}
    while queue:
        name = queue.pop(0)
        if name in seen:
            continue
        seen.add(name)
        text = _definition(name)
        package, _, short = name.split("/")
        texts.append(f"{_SEPARATOR}\nMSG: {package}/{short}\n{text}")
        queue += _dependencies(name, text)
    return "\n".join(texts).encode()


def _definition(type_name: str) -> str:
    package, kind, short = type_name.split("/")
    try:
        path = Path(get_package_share_directory(package)) / kind / f"{short}.msg"
        return path.read_text(encoding="utf-8")
    except (PackageNotFoundError, FileNotFoundError) as error:
        raise ConfigError(
            f"no definition of {type_name} is installed; build the workspace with scripts/setup"
        ) from error


def _dependencies(type_name: str, text: str) -> list[str]:
    package = type_name.split("/")[0]
    found: list[str] = []
    for line in text.splitlines():
        match = _FIELD.match(line.split("#")[0])
        if match is None or match[1] in _PRIMITIVES:
            continue
        parts = match[1].split("/")
        found.append(f"{parts[0]}/msg/{parts[-1]}" if len(parts) > 1 else f"{package}/msg/{parts[0]}")
    return found
