"""Launch XML as a tree that knows its line numbers, checked against the table of tags and attributes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from sinew_policies.common.errors import LaunchError, name_hint

_CONDITION = frozenset({"if", "unless"})
_PROCESS = _CONDITION | {
    "name",
    "output",
    "respawn",
    "respawn_delay",
    "respawn_max_retries",
    "launch-prefix",
    "cwd",
    "on_exit",
}
_ACTIONS = frozenset(
    {"arg", "let", "group", "include", "node", "executable", "timer", "log", "shutdown", "set_env", "unset_env"}
    | {"set_parameter", "set_remap", "set_use_sim_time", "push_ros_namespace"}
)
_REFUSED = {
    "node_container": "composable nodes need C++ components; start one process per node instead",
    "load_composable_node": "composable nodes need C++ components; start one process per node instead",
}
ALIASES = {"push-ros-namespace": "push_ros_namespace"}


@dataclass(frozen=True)
class _Tag:
    required: frozenset[str]
    optional: frozenset[str]
    children: frozenset[str] = frozenset()


def _tag(required: str = "", optional: frozenset[str] = _CONDITION, children: str = "") -> _Tag:
    return _Tag(frozenset(required.split()), optional, frozenset(children.split()))


_TAGS: dict[str, _Tag] = {
    "launch": _Tag(frozenset(), frozenset({"version"}), _ACTIONS),
    "arg": _tag("name", _CONDITION | {"default", "description"}, "choice"),
    "choice": _tag("value", frozenset()),
    "let": _tag("name value"),
    "group": _Tag(frozenset(), _CONDITION | {"scoped"}, _ACTIONS),
    "include": _tag("file", _CONDITION, "arg"),
    "include/arg": _tag("name value", frozenset()),
    "node": _tag("pkg exec", _PROCESS | {"namespace", "args", "ros_args"}, "param remap env"),
    "executable": _tag("cmd", _PROCESS, "env"),
    "param": _tag("", frozenset({"name", "value", "from"}), "param"),
    "remap": _tag("from to", frozenset()),
    "env": _tag("name value", frozenset()),
    "timer": _Tag(frozenset({"period"}), _CONDITION, _ACTIONS),
    "log": _tag("message"),
    "shutdown": _tag("", _CONDITION | {"reason"}),
    "set_env": _tag("name value"),
    "unset_env": _tag("name"),
    "set_parameter": _tag("name value"),
    "set_remap": _tag("from to"),
    "set_use_sim_time": _tag("value"),
    "push_ros_namespace": _tag("namespace"),
}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    file: Path
    line: int
    children: "list[Element]" = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    def fail(self, message: str) -> LaunchError:
        return LaunchError(f"{self.where}: {message}")

    def named(self, tag: str) -> "list[Element]":
        return [child for child in self.children if child.tag == tag]

    def walk(self) -> "Iterator[Element]":
        yield self
        for child in self.children:
            yield from child.walk()


def read(file: Path) -> Element:
    """The checked tree of a launch file.

    Raises LaunchError: the file cannot be read, is not XML, or has a tag or attribute that is not in the table.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise LaunchError(f"{file}: cannot read this launch file ({error.strerror}); check its path") from error
    root = _parse(text, file)
    if root.tag != "launch":
        raise root.fail(f"the root element is <{root.tag}>; expected <launch>")
    _check(root, "launch")
    return root


def _parse(text: bytes, file: Path) -> Element:
    parser = expat.ParserCreate()
    stack: list[Element] = []
    roots: list[Element] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(ALIASES.get(tag, tag), attributes, file, parser.CurrentLineNumber)
        (stack[-1].children if stack else roots).append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def characters(data: str) -> None:
        if data.strip():
            line = parser.CurrentLineNumber
            raise LaunchError(
                f"{file}:{line}: stray text '{data.strip()[:40]}'; put values into attributes, notes into <!-- -->"
            )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise LaunchError(
            f"{file}:{error.lineno}: not well-formed XML ({expat.ErrorString(error.code)}); "
            "correct it there or just above"
        ) from error
    return roots[0]


def _check(element: Element, kind: str) -> None:
    tag = _TAGS[kind]
    valid = tag.required | tag.optional
    for name in element.attributes:
        if name not in valid:
            raise element.fail(f"<{element.tag}> has no attribute '{name}'; {name_hint(name, valid)}")
    missing = sorted(tag.required - element.attributes.keys())
    if missing:
        raise element.fail(
            f"<{element.tag}> lacks the attribute '{missing[0]}'; it needs: {', '.join(sorted(tag.required))}"
        )
    for child in element.children:
        if child.tag in _REFUSED:
            raise child.fail(f"<{child.tag}> is not supported: {_REFUSED[child.tag]}")
        if child.tag not in tag.children:
            place = f"unknown tag <{child.tag}>" if child.tag not in _TAGS else f"<{child.tag}> does not belong"
            raise child.fail(f"{place} in <{element.tag}>; {name_hint(child.tag, tag.children)}")
        _check(child, "include/arg" if kind == "include" else child.tag)
