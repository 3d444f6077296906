"""Device backends by name. A backend is a class in a module that is imported only when it is asked for."""

import importlib
from typing import Any, Literal, overload

from sinew_hardware.interfaces import Arm, Camera, Device, Gripper
from sinew_policies.common.errors import ConfigError, MissingExtra, name_hint

_BACKENDS: dict[str, dict[str, str]] = {
    "arm": {"sim": "sinew_sim.cell.devices:SimArm"},
    "gripper": {"sim": "sinew_sim.cell.devices:SimGripper"},
    "camera": {"sim": "sinew_sim.cell.camera_device:SimCamera"},
}


def kinds() -> tuple[str, ...]:
    return tuple(sorted(_BACKENDS))


def backends(kind: str) -> tuple[str, ...]:
    """Names of the backends of a kind; ConfigError for an unknown kind."""
    return tuple(sorted(_of_kind(kind)))


def register(kind: str, backend: str, target: str) -> None:
    """Adds a backend, `target` = "package.module:Class"; ConfigError if the name is taken or malformed."""
    known = _of_kind(kind)
    if target.count(":") != 1:
        raise ConfigError(f"backend target '{target}' is malformed; expected 'package.module:Class'")
    if backend in known and known[backend] != target:
        raise ConfigError(f"{kind} backend '{backend}' is already {known[backend]}; choose another name")
    known[backend] = target


@overload
def create(kind: Literal["arm"], backend: str, **config: Any) -> Arm: ...
@overload
def create(kind: Literal["gripper"], backend: str, **config: Any) -> Gripper: ...
@overload
def create(kind: Literal["camera"], backend: str, **config: Any) -> Camera: ...
@overload
def create(kind: str, backend: str, **config: Any) -> Device: ...
def create(kind: str, backend: str, **config: Any) -> Any:
    """Makes a device (no I/O yet); `config` are its constructor's arguments.

    ConfigError for an unknown kind or backend or for arguments that it does not take; MissingExtra when a
    package it needs is not installed.
    """
    known = _of_kind(kind)
    if backend not in known:
        raise ConfigError(f"{kind} backend '{backend}' is unknown; {name_hint(backend, known)}")
    module_name, class_name = known[backend].split(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as fault:
        raise MissingExtra(fault.name or module_name, _extra(backend)) from fault
    device = getattr(module, class_name)
    try:
        return device(**config)
    except TypeError as fault:
        raise ConfigError(f"{kind} backend '{backend}': {fault}; see {module_name}.{class_name}") from fault


def _extra(backend: str) -> str:
    return "sim" if backend == "sim" else backend


def _of_kind(kind: str) -> dict[str, str]:
    if kind not in _BACKENDS:
        raise ConfigError(f"device kind '{kind}' is unknown; {name_hint(kind, _BACKENDS)}")
    return _BACKENDS[kind]
