"""What a group encloses. Including a file does not open a scope: what it sets stays set, as in ROS 2 itself."""

from dataclasses import dataclass, field
from pathlib import Path

from sinew_policies.common.errors import LaunchError


@dataclass
class Scope:
    environment: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    parameters: list[tuple[str, str]] = field(default_factory=list)  # (name, text) of set_parameter
    remaps: list[tuple[str, str]] = field(default_factory=list)
    file: Path = Path()

    def child(self) -> "Scope":
        return Scope(
            dict(self.environment),
            dict(self.variables),
            self.namespace,
            list(self.parameters),
            list(self.remaps),
            self.file,
        )


def join_namespace(base: str, name: str) -> str:
    """ROS rules: an absolute name replaces the base, a relative one is appended; the result is '' or absolute."""
    joined = name if name.startswith("/") else f"{base}/{name}"
    parts = [part for part in joined.split("/") if part]
    return "/" + "/".join(parts) if parts else ""


def truth(text: str) -> bool:
    """Raises LaunchError for anything but true, false, 1 and 0 in any case."""
    lowered = text.strip().lower()
    if lowered in ("true", "1"):
        return True
    if lowered in ("false", "0"):
        return False
    raise LaunchError(f"'{text}' is not a truth value; valid names: true, false, 1, 0")
