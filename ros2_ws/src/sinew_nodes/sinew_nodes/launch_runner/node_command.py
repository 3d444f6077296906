"""A <node> element → its command line, in the order that ROS 2's own launch uses:
`exe <args> --ros-args <ros_args> --ros-args -r __node:=n -r __ns:=/ns -p … --params-file … -r a:=b`.
"""

import hashlib
import os
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from sinew_nodes.launch_runner import packages
from sinew_nodes.launch_runner.document import Element
from sinew_nodes.launch_runner.scope import Scope, join_namespace
from sinew_policies.common.errors import LaunchError

Expand = Callable[[Element, str], str]
"""(element, attribute) → the attribute with its substitutions done."""

Tree = dict[str, "str | int | float | bool | list | Tree"]


def node_name(element: Element, scope: Scope, expand: Expand) -> tuple[str, str]:
    """(name, namespace) of a node; the name falls back to the executable's."""
    name = expand(element, "name") if "name" in element.attributes else ""
    if "/" in name:
        raise element.fail(f"node name '{name}' holds a '/'; put the part before it into the attribute 'namespace'")
    own = expand(element, "namespace") if "namespace" in element.attributes else ""
    return name, join_namespace(scope.namespace, own)


def node_command(element: Element, scope: Scope, expand: Expand) -> list[str]:
    """Raises LaunchError: package, executable or parameter file does not exist."""
    path = packages.executable(expand(element, "pkg"), expand(element, "exec"), scope.environment)
    command = [str(path)]
    if "args" in element.attributes:
        command += shlex.split(expand(element, "args"))
    command.append("--ros-args")
    if "ros_args" in element.attributes:
        command += [*shlex.split(expand(element, "ros_args")), "--ros-args"]
    name, namespace = node_name(element, scope, expand)
    if name:
        command += ["-r", f"__node:={name}"]
    if namespace:
        command += ["-r", f"__ns:={namespace}"]
    for key, value in scope.parameters:
        command += ["-p", f"{key}:={value}"]
    key = f"{namespace}/{name}" if name and namespace else "/**"
    for values in _parameter_sets(element.named("param"), expand):
        command += ["--params-file", str(values if isinstance(values, Path) else _write(key, values))]
    remaps = [(expand(e, "from"), expand(e, "to")) for e in element.named("remap")]
    for source, target in [*scope.remaps, *remaps]:
        command += ["-r", f"{source}:={target}"]
    return command


def _parameter_sets(params: list[Element], expand: Expand) -> list[Path | Tree]:
    """In the order of the file, because later ones win."""
    sets: list[Path | Tree] = []
    for param in params:
        if "from" not in param.attributes:
            sets.append(_entry(param, expand))
            continue
        if len(param.attributes) > 1 or param.children:
            raise param.fail("<param from=…> takes no other attribute and no children; use a second <param>")
        file = Path(expand(param, "from"))
        if not file.is_file():
            raise param.fail(f"parameter file '{file}' does not exist; check the path in 'from'")
        sets.append(file)
    return sets


def _entry(param: Element, expand: Expand) -> Tree:
    if "name" not in param.attributes:
        raise param.fail("<param> needs the attribute 'name' (with 'value' or nested <param>s) or 'from'")
    name = expand(param, "name")
    if param.children and "value" in param.attributes:
        raise param.fail(f"parameter '{name}' has a value and nested parameters; give one of the two")
    if param.children:
        nested: Tree = {}
        for child in param.children:
            nested |= _entry(child, expand)
        return {name: nested}
    if "value" not in param.attributes:
        raise param.fail(f"parameter '{name}' has neither a value nor nested <param>s")
    return {name: _value(param, expand)}


def _value(param: Element, expand: Expand) -> "str | int | float | bool | list":
    """A list is split as it is written, before its elements are expanded, as ROS 2's own launch does: an argument
    that holds commas stays one element."""
    written = param.attributes["value"].strip()
    if written.startswith("[") and written.endswith("]"):
        try:
            elements = yaml.safe_load(written)
        except yaml.YAMLError:
            elements = None
        if isinstance(elements, list) and any(isinstance(e, str) and "$(" in e for e in elements):
            return [_typed(_element(param, e, expand)) if isinstance(e, str) else e for e in elements]
    return _typed(expand(param, "value"))


def _element(param: Element, text: str, expand: Expand) -> str:
    return expand(replace(param, attributes={"value": text}), "value")


def _typed(text: str) -> "str | int | float | bool | list":
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:
        value = text
    # Dates, mappings and nothing are no ROS parameters: those texts stay texts.
    return value if isinstance(value, bool | int | float | str | list) else text


def _write(key: str, values: Tree) -> Path:
    """A parameter file below the temporary folder, named by its content so that repeated launches add none."""
    text = yaml.safe_dump({key: {"ros__parameters": values}}, default_flow_style=False)
    folder = parameter_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.yaml"
        if not path.is_file() or path.read_text() != text:
            partial = path.with_suffix(f".{os.getpid()}")
            partial.write_text(text)
            partial.replace(path)
    except OSError as error:
        raise LaunchError(
            f"cannot write parameters below {folder} ({error}); set TMPDIR to a writable folder"
        ) from error
    return path


def parameter_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"sinew-params-{os.getuid()}"
