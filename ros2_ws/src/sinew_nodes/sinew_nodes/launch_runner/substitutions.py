"""`$(name arguments…)` in attribute values. Arguments are separated by blanks, may be quoted, and may nest."""

import math

from sinew_nodes.launch_runner import packages
from sinew_nodes.launch_runner.scope import Scope, truth
from sinew_policies.common.errors import LaunchError, name_hint

_REFUSED = {
    "eval": "Python expressions are not evaluated; use equals, not, and, or",
    "command": "commands are not run while a file is read; pass the value as an argument",
}


def expand(text: str, scope: Scope) -> str:
    """`text` with every substitution replaced.

    Raises LaunchError: unknown substitution, wrong number of arguments, or a value that is not there.
    """
    value, end = _text(text, 0, scope, closing="")
    assert end == len(text)
    return value


def _text(text: str, at: int, scope: Scope, closing: str) -> tuple[str, int]:
    """Reads up to one of the characters in `closing`, or to the end."""
    out: list[str] = []
    while at < len(text) and text[at] not in closing:
        if text[at] == "\\" and at + 1 < len(text) and text[at + 1] in "$\\\"'":
            out.append(text[at + 1])
            at += 2
        elif text.startswith("$(", at):
            value, at = _substitution(text, at, scope)
            out.append(value)
        else:
            out.append(text[at])
            at += 1
    return "".join(out), at


def _substitution(text: str, start: int, scope: Scope) -> tuple[str, int]:
    at = start + 2
    words: list[str] = []
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at >= len(text):
            raise LaunchError(f"'{text[start:]}' has no closing bracket; write $(name arguments)")
        if text[at] == ")":
            return _evaluate(words, text[start : at + 1], scope), at + 1
        word, at = _word(text, at, scope)
        words.append(word)


def _word(text: str, at: int, scope: Scope) -> tuple[str, int]:
    """One argument: quoted and unquoted pieces up to a blank or the closing bracket."""
    pieces: list[str] = []
    while at < len(text) and not text[at].isspace() and text[at] != ")":
        if text[at] in "'\"":
            quote = text[at]
            piece, at = _text(text, at + 1, scope, closing=quote)
            if at >= len(text):
                raise LaunchError(f"'{text}' has an opening {quote} with no closing one")
            at += 1
        else:
            piece, at = _text(text, at, scope, closing=" \t\r\n)'\"")
        pieces.append(piece)
    return "".join(pieces), at


def _evaluate(words: list[str], source: str, scope: Scope) -> str:
    name, arguments = (words[0], words[1:]) if words else ("", [])
    if name in _REFUSED:
        raise LaunchError(f"$({name}) is not supported: {_REFUSED[name]}")
    if name not in _ARITY:
        raise LaunchError(f"unknown substitution '{name}' in '{source}'; {name_hint(name, _ARITY)}")
    low, high = _ARITY[name]
    if not low <= len(arguments) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise LaunchError(f"'{source}' has {len(arguments)} arguments; $({name}) takes {wanted}")
    return _apply(name, arguments, scope)


_ARITY = {
    "var": (1, 2),
    "env": (1, 2),
    "find-pkg-share": (1, 1),
    "find-pkg-prefix": (1, 1),
    "dirname": (0, 0),
    "equals": (2, 2),
    "not": (1, 1),
    "and": (2, 2),
    "or": (2, 2),
}


def _apply(name: str, arguments: list[str], scope: Scope) -> str:
    match name:
        case "var":
            return _lookup(arguments, scope.variables, "argument or variable", 'declare it with <arg name="…"/>')
        case "env":
            return _lookup(arguments, scope.environment, "environment variable", "set it or give a default")
        case "find-pkg-share":
            return str(packages.share(arguments[0], scope.environment))
        case "find-pkg-prefix":
            return str(packages.prefix(arguments[0], scope.environment))
        case "dirname":
            return str(scope.file.parent)
        case "equals":
            return _written(_equal(arguments[0], arguments[1]))
        case "not":
            return _written(not truth(arguments[0]))
        case "and":
            return _written(truth(arguments[0]) and truth(arguments[1]))
        case _:
            return _written(truth(arguments[0]) or truth(arguments[1]))


def _lookup(arguments: list[str], table: dict[str, str], kind: str, remedy: str) -> str:
    if arguments[0] in table:
        return table[arguments[0]]
    if len(arguments) == 2:
        return arguments[1]
    valid = table if kind != "environment variable" else [k for k in table if k.startswith(("ROS", "SINEW"))]
    raise LaunchError(f"{kind} '{arguments[0]}' is not set: {remedy}; {name_hint(arguments[0], valid)}")


def _equal(left: str, right: str) -> bool:
    """As text, but 1 equals true and 1.0 equals 1."""
    try:
        return truth(left) == truth(right)
    except LaunchError:
        pass
    try:
        return math.isclose(float(left), float(right))
    except ValueError:
        return left == right


def _written(value: bool) -> str:
    return "true" if value else "false"
