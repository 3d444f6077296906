"""Configuration: a frozen dataclass, a YAML file over its defaults, dotted overrides over the file.

A command takes `--config FILE` and words such as `train.lr=1e-4`; unknown names are refused with the nearest
valid one. Values are checked by type on the way in, and by the dataclass's own `__post_init__`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import draccus
import yaml
from draccus.utils import DraccusException

from sinew_policies.common.errors import ConfigError, name_hint

ConfigT = TypeVar("ConfigT")
Tree = Mapping[str, Any]

_MAX_BYTES = 1 << 18

# PyYAML's own, what odd scalars raise while they are converted, and deep nesting.
_YAML_FAULTS = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)


def load(config_type: type[ConfigT], file: Path | None = None, overrides: Iterable[str] = ()) -> ConfigT:
    """Defaults of `config_type`, then `file`, then `overrides` such as "optimiser.lr=1e-4".

    Raises ConfigError: no such file, not YAML, unknown name, or a value of the wrong type or outside its range.
    """
    tree: dict[str, Any] = dict(_read(file)) if file is not None else {}
    check_names(config_type, tree, str(file))
    for override in overrides:
        _apply(config_type, tree, override)
    return decode(config_type, tree)


def decode(config_type: type[ConfigT], tree: Tree) -> ConfigT:
    """A dataclass from nested mappings; names that are left out keep their defaults.

    Raises ConfigError as `load`.
    """
    check_names(config_type, tree, config_type.__name__)
    try:
        return _finite(draccus.decode(config_type, dict(tree)))
    except (DraccusException, ValueError, TypeError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # a class's own __post_init__ says it best
            cause = cause.__cause__
        detail = "" if cause is error else f" ({cause})"
        raise ConfigError(f"{config_type.__name__}: {error}{detail}; correct that value") from error


def _finite(value: ConfigT, name: str = "") -> ConfigT:
    """The same; NaN passes every comparison that a `__post_init__` may make, and stands for no setting."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name.removeprefix('.')} is {value}; expected a finite number")
    if is_dataclass(value):
        for f in fields(value):
            _finite(getattr(value, f.name), f"{name}.{f.name}")
    if isinstance(value, list | tuple):
        for k, part in enumerate(value):
            _finite(part, f"{name}[{k}]")
    return value


def to_yaml(config: object) -> str:
    """YAML that `load` reads back to an equal object."""
    return yaml.safe_dump(draccus.encode(config), sort_keys=False)


def save(config: object, file: Path) -> None:
    file.write_text(to_yaml(config))


def names(config_type: type, prefix: str = "") -> list[str]:
    """Dotted names of every value in the dataclass."""
    found: list[str] = []
    for name, kind in _fields(config_type).items():
        found += (
            names(kind, f"{prefix}{name}.")
            if isinstance(kind, type) and is_dataclass(kind)
            else [f"{prefix}{name}"]
        )
    return found


def check_names(config_type: type, tree: Tree, source: str, prefix: str = "") -> None:
    """Raises ConfigError for the first name in `tree` that the dataclass does not have."""
    valid = _fields(config_type)
    for name, value in tree.items():
        if name not in valid:
            hint = name_hint(f"{prefix}{name}", [f"{prefix}{v}" for v in valid])
            raise ConfigError(f"{source}: there is no setting '{prefix}{name}'; {hint}")
        kind = valid[name]
        if isinstance(kind, type) and is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{source}: '{prefix}{name}' is {value!r}; expected a group of {', '.join(_fields(kind))}"
                )
            check_names(kind, value, source, f"{prefix}{name}.")


def read_yaml(file: Path) -> Any:
    """Plain values. Raises ConfigError for a file that is missing, not YAML, or made to fill the memory."""
    if file.exists() and not file.is_file():  # a pipe would keep us waiting
        raise ConfigError(f"configuration {file} is a folder or a device; name a file")
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ConfigError(f"configuration {file} has over {_MAX_BYTES} bytes; expected a short text")
        return yaml.load(text, _WithoutAliases)
    except OSError as error:
        raise ConfigError(f"cannot read configuration {file} ({error.strerror}); check the path") from error
    except _YAML_FAULTS as error:
        raise ConfigError(f"{file} is not readable YAML ({error}); correct it") from error


class _WithoutAliases(yaml.SafeLoader):
    """A few lines of aliases to aliases can stand for more values than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, *name, stands in place of a value; write the value out")
        return super().compose_node(parent, index)


def _read(file: Path) -> Tree:
    tree = read_yaml(file)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} holds a {type(tree).__name__}; expected names with values, such as 'seed: 1'")
    return tree


def _apply(config_type: type, tree: dict[str, Any], override: str) -> None:
    path, sign, text = override.removeprefix("--").partition("=")
    valid = names(config_type)
    if not sign:
        raise ConfigError(f"override '{override}' has no '='; write name=value. {name_hint(path, valid)}")
    if path not in valid:
        raise ConfigError(f"there is no setting '{path}'; {name_hint(path, valid)}")
    *groups, name = path.split(".")
    place = tree
    for group in groups:
        place[group] = dict(place.get(group, {}))
        place = place[group]
    try:
        place[name] = yaml.load(text, _WithoutAliases)
    except _YAML_FAULTS as error:
        raise ConfigError(f"the value of '{override[:200]}' is not YAML: {error}") from error


def _fields(config_type: type) -> dict[str, Any]:
    hints = get_type_hints(config_type)
    return {f.name: hints[f.name] for f in fields(config_type) if f.init}
