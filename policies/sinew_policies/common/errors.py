"""One tree of errors. Callers catch by how they respond, not by where the fault arose.

SinewError
├── ConfigError        a value the user wrote is wrong; fix it and start again
├── MissingExtra       an optional package is not installed; the message names the extra
├── CheckpointError    weights are missing, damaged or do not fit the network
├── DataError          an array, message or file is unusable as it stands
│   ├── CloudError     a point cloud or depth image is unusable
│   └── MeshError      a mesh is unusable
├── DeviceError        a device is not there, late or ill
│   ├── NotConnected
│   ├── Stale          the newest sample is older than the consumer allows
│   └── DeviceTimeout
├── CommandRejected    the safety gate refused a command; nothing was sent
├── PlanningError
│   ├── NoGrasp        no candidate survived
│   ├── Unreachable    inverse kinematics found no solution
│   └── NoPlan         no collision-free path within the budget
└── LaunchError        a launch file, argument or package is wrong

A message says what failed, the value, what was expected and what to do, and lists the valid names.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class SinewError(Exception):
    """Root of every error that sinew raises on purpose."""


class ConfigError(SinewError):
    pass


class MissingExtra(SinewError):
    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"package '{package}' is not installed; install it with: pip install 'sinew-robotics[{extra}]'"
        )


class CheckpointError(SinewError):
    pass


class DataError(SinewError):
    pass


class CloudError(DataError):
    pass


class MeshError(DataError):
    pass


class DeviceError(SinewError):
    pass


class NotConnected(DeviceError):
    pass


class Stale(DeviceError):
    pass


class DeviceTimeout(DeviceError):
    pass


class CommandRejected(SinewError):
    """The safety gate refused a command. `reason` is a short machine-readable word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PlanningError(SinewError):
    pass


class NoGrasp(PlanningError):
    pass


class Unreachable(PlanningError):
    pass


class NoPlan(PlanningError):
    pass


class LaunchError(SinewError):
    pass


def name_hint(name: str, valid: Iterable[str]) -> str:
    """Tail of a message about an unknown name: the nearest valid name and the whole list."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1)
    nearest = f"did you mean '{close[0]}'? " if close else ""
    return f"{nearest}valid names: {', '.join(names) or '(none)'}"


def escaped(text: str, most: int = 200) -> str:
    """A stranger's text as it may stand in a message: cut, and quoted where it could steer a terminal."""
    cut = text[:most] + ("…" if len(text) > most else "")
    return cut if cut.isprintable() else repr(cut)
