"""A launch file and its arguments → a plan. Nothing starts before all of it was read without a mistake."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sinew_nodes.launch_runner import document
from sinew_nodes.launch_runner.document import Element
from sinew_nodes.launch_runner.node_command import node_command, node_name
from sinew_nodes.launch_runner.plan import Action, ProcessSpec, Say, Shutdown, Timer
from sinew_nodes.launch_runner.scope import Scope, join_namespace, truth
from sinew_nodes.launch_runner.substitutions import expand
from sinew_policies.common.errors import LaunchError, name_hint

_OUTPUTS = ("screen", "log", "both", "own_log", "full")
_MAX_DEPTH = 20


@dataclass(frozen=True)
class Argument:
    name: str
    description: str
    default: str | None  # as written, substitutions unexpanded; None: must be given
    choices: tuple[str, ...]
    where: str


def evaluate(file: Path, arguments: Mapping[str, str], environment: Mapping[str, str]) -> tuple[Action, ...]:
    """The plan of a launch file.

    Raises LaunchError naming file, line and the valid names for whatever is wrong in it or in its arguments.
    """
    declared = declared_arguments(file, environment)
    for name in arguments:
        if name not in {argument.name for argument in declared}:
            raise LaunchError(
                f"{file}: there is no argument '{name}'; {name_hint(name, [a.name for a in declared])}"
            )
    scope = Scope(environment=dict(environment), variables=dict(arguments), file=file)
    return tuple(_Interpreter().run_file(document.read(file), scope))


def declared_arguments(file: Path, environment: Mapping[str, str]) -> list[Argument]:
    """Arguments of a file and of the files that it includes, in the order in which they are met."""
    scope = Scope(environment=dict(environment), file=file)
    found: dict[str, Argument] = {}
    _declared(document.read(file), scope, found, frozenset(), 0)
    return list(found.values())


class _Interpreter:
    def __init__(self) -> None:
        self._depth = 0

    def run_file(self, root: Element, scope: Scope) -> list[Action]:
        if self._depth >= _MAX_DEPTH:
            raise root.fail(f"files include each other more than {_MAX_DEPTH} deep; break the circle")
        self._depth += 1
        outer, scope.file = scope.file, root.file
        actions = self._run(root.children, scope)
        scope.file = outer
        self._depth -= 1
        return actions

    def _run(self, elements: Sequence[Element], scope: Scope) -> list[Action]:
        actions: list[Action] = []
        for element in elements:
            if _wanted(element, scope):
                actions += self._one(element, scope)
        return actions

    def _one(self, element: Element, scope: Scope) -> list[Action]:
        def value(name: str) -> str:
            return _expanded(element, name, scope)

        match element.tag:
            case "arg":
                _declare(element, scope)
            case "let":
                scope.variables[value("name")] = value("value")
            case "group":
                scoped = "scoped" not in element.attributes or _truth(element, "scoped", scope)
                return self._run(element.children, scope.child() if scoped else scope)
            case "include":
                return self._include(element, scope)
            case "node":
                return [_node(element, scope)]
            case "executable":
                return [_executable(element, scope)]
            case "timer":
                period_s = _number(element, "period", scope)
                return [Timer(period_s, tuple(self._run(element.children, scope)))]
            case "log":
                return [Say(value("message"))]
            case "shutdown":
                return [
                    Shutdown(value("reason") if "reason" in element.attributes else "the launch file asked for it")
                ]
            case "set_env":
                scope.environment[value("name")] = value("value")
            case "unset_env":
                scope.environment.pop(value("name"), None)
            case "set_parameter":
                _set_parameter(scope, value("name"), value("value"))
            case "set_use_sim_time":
                _set_parameter(scope, "use_sim_time", str(_truth(element, "value", scope)))
            case "set_remap":
                scope.remaps.append((value("from"), value("to")))
            case "push_ros_namespace":
                scope.namespace = join_namespace(scope.namespace, value("namespace"))
            case unknown:
                raise element.fail(f"no rule for <{unknown}>")
        return []

    def _include(self, element: Element, scope: Scope) -> list[Action]:
        root = _included(element, scope)
        valid = [argument.name for argument in declared_arguments(root.file, scope.environment)]
        for argument in element.children:
            name = _expanded(argument, "name", scope)
            if name not in valid:
                raise argument.fail(f"{root.file.name} has no argument '{name}'; {name_hint(name, valid)}")
            scope.variables[name] = _expanded(argument, "value", scope)
        return self.run_file(root, scope)


def _declared(root: Element, scope: Scope, found: dict[str, Argument], given: frozenset[str], depth: int) -> None:
    for element in root.walk():
        if element.tag == "arg" and "value" not in element.attributes:
            argument = _argument(element)
            if argument.name not in given:
                found.setdefault(argument.name, argument)
            if argument.default is not None and argument.name not in scope.variables:
                try:
                    scope.variables[argument.name] = expand(argument.default, scope)
                except LaunchError:
                    continue  # depends on something that only the command line gives
        elif element.tag == "include" and depth < _MAX_DEPTH:
            try:
                included = _included(element, scope)
            except LaunchError:
                continue  # its path depends on an argument; a real mistake shows when the file is evaluated
            passed = given | {child.attributes["name"] for child in element.children}
            outer, scope.file = scope.file, included.file
            _declared(included, scope, found, passed, depth + 1)
            scope.file = outer


def _argument(element: Element) -> Argument:
    return Argument(
        element.attributes["name"],
        element.attributes.get("description", ""),
        element.attributes.get("default"),
        tuple(choice.attributes["value"] for choice in element.named("choice")),
        element.where,
    )


def _declare(element: Element, scope: Scope) -> None:
    argument = _argument(element)
    if argument.name not in scope.variables:
        if argument.default is None:
            purpose = f" ({argument.description})" if argument.description else ""
            raise element.fail(f"argument '{argument.name}'{purpose} has no default; give {argument.name}:=VALUE")
        scope.variables[argument.name] = _expanded(element, "default", scope)
    value = scope.variables[argument.name]
    if argument.choices and value not in argument.choices:
        raise element.fail(f"argument '{argument.name}' is '{value}'; {name_hint(value, argument.choices)}")


def _included(element: Element, scope: Scope) -> Element:
    path = Path(_expanded(element, "file", scope))
    if not path.is_absolute():
        path = scope.file.parent / path
    if path.suffix == ".py":
        raise element.fail(f"'{path.name}' is Python; only XML launch files can be read without the launch package")
    if not path.is_file():
        there = [p.name for p in path.parent.glob("*.xml")] if path.parent.is_dir() else []
        raise element.fail(f"included file '{path}' does not exist; {name_hint(path.name, there)}")
    return document.read(path)


def _node(element: Element, scope: Scope) -> ProcessSpec:
    try:
        command = node_command(element, scope, lambda child, name: _expanded(child, name, scope))
    except LaunchError as error:
        raise _placed(element, error) from error
    name, namespace = node_name(element, scope, lambda child, key: _expanded(child, key, scope))
    return _process(element, scope, command, f"{namespace}/{name}".strip("/") if name else Path(command[0]).name)


def _executable(element: Element, scope: Scope) -> ProcessSpec:
    command = shlex.split(_expanded(element, "cmd", scope))
    if not command:
        raise element.fail("<executable> has an empty 'cmd'")
    name = _expanded(element, "name", scope) if "name" in element.attributes else Path(command[0]).name
    return _process(element, scope, command, name)


def _process(element: Element, scope: Scope, command: list[str], name: str) -> ProcessSpec:
    attributes = element.attributes
    environment = dict(scope.environment)
    for child in element.named("env"):
        environment[_expanded(child, "name", scope)] = _expanded(child, "value", scope)
    output = _expanded(element, "output", scope) if "output" in attributes else "log"
    if output not in _OUTPUTS:
        raise element.fail(f"output is '{output}'; {name_hint(output, _OUTPUTS)}")
    on_exit = _expanded(element, "on_exit", scope) if "on_exit" in attributes else ""
    if on_exit not in ("", "shutdown"):
        raise element.fail(f"on_exit is '{on_exit}'; valid names: shutdown")
    cwd = _expanded(element, "cwd", scope) if "cwd" in attributes else None
    if cwd is not None and not Path(cwd).is_dir():
        raise element.fail(f"cwd '{cwd}' is no folder")
    if "launch-prefix" in attributes:
        command = shlex.split(_expanded(element, "launch-prefix", scope)) + command
    retries = _number(element, "respawn_max_retries", scope) if "respawn_max_retries" in attributes else -1.0
    if retries != int(retries):
        raise element.fail(f"respawn_max_retries is {retries}; expected a whole number, -1 for no limit")
    return ProcessSpec(
        name=name,
        command=tuple(command),
        environment=tuple(sorted(environment.items())),
        where=element.where,
        cwd=cwd,
        output=output,
        respawn="respawn" in attributes and _truth(element, "respawn", scope),
        respawn_delay_s=max(0.0, _number(element, "respawn_delay", scope))
        if "respawn_delay" in attributes
        else 0.0,
        respawn_max_retries=int(retries),
        required=on_exit == "shutdown",
    )


def _set_parameter(scope: Scope, name: str, value: str) -> None:
    scope.parameters[:] = [(key, old) for key, old in scope.parameters if key != name] + [(name, value)]


def _wanted(element: Element, scope: Scope) -> bool:
    if "if" in element.attributes and "unless" in element.attributes:
        raise element.fail("'if' and 'unless' exclude each other; keep one")
    if "if" in element.attributes:
        return _truth(element, "if", scope)
    return "unless" not in element.attributes or not _truth(element, "unless", scope)


def _expanded(element: Element, name: str, scope: Scope) -> str:
    try:
        return expand(element.attributes[name], scope)
    except LaunchError as error:
        raise _placed(element, error) from error


def _truth(element: Element, name: str, scope: Scope) -> bool:
    try:
        return truth(_expanded(element, name, scope))
    except LaunchError as error:
        raise _placed(element, error) from error


def _number(element: Element, name: str, scope: Scope) -> float:
    text = _expanded(element, name, scope)
    try:
        return float(text)
    except ValueError:
        raise element.fail(f"{name} is '{text}'; expected a number") from None


def _placed(element: Element, error: LaunchError) -> LaunchError:
    """The error with file and line in front, unless it names a place already."""
    text = str(error)
    return error if text.startswith(f"{os.fspath(element.file)}:") else element.fail(text)
