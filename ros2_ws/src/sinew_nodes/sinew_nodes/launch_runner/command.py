"""`sinew launch`: runs a package's launch file, lists its arguments, or prints what it would run."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from sinew_nodes.launch_runner import packages
from sinew_nodes.launch_runner.console import Console
from sinew_nodes.launch_runner.interpreter import Argument, declared_arguments, evaluate
from sinew_nodes.launch_runner.plan import Action, ProcessSpec, Say, Shutdown, Timer
from sinew_nodes.launch_runner.supervisor import Supervisor
from sinew_policies.common.dds import clean_stale_segments, dds_environment
from sinew_policies.common.errors import LaunchError

_HOME_PACKAGE = "sinew_bringup"


def main(argv: Sequence[str]) -> int:
    """Exit code: 0 stopped on request or all ended well, 1 a required process died.

    Raises LaunchError: the file, an argument or a package is wrong; nothing was started then.
    """
    options = _parser().parse_args(argv)
    environment = dict(os.environ)
    environment.update(dds_environment(environment))
    file, assignments = _target(options.words, environment)
    if options.show_args:
        print(_listing(file, declared_arguments(file, environment)))
        return 0
    environment.setdefault("PYTHONUNBUFFERED", "1")
    if options.print:
        print("\n".join(_printed(evaluate(file, assignments, environment))))
        return 0
    console = Console()
    if console.colored:
        environment.setdefault("RCUTILS_COLORIZED_OUTPUT", "1")
    actions = evaluate(file, assignments, environment)
    removed = clean_stale_segments()
    if removed:
        console.note(f"removed {removed} shared-memory files of ended processes")
    try:
        return Supervisor(console).run(actions)
    finally:
        console.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sinew launch",
        usage="sinew launch [--show-args | --print] [PACKAGE] FILE [name:=value …]",
        description="Runs an XML launch file as ROS 2's own launch does. A bare name is one of sinew_bringup's; "
        "a path works too. Ctrl-C stops everything.",
    )
    parser.add_argument("words", nargs="*", metavar="[PACKAGE] FILE [name:=value …]")
    parser.add_argument("-s", "--show-args", action="store_true", help="list the file's arguments and stop")
    parser.add_argument("-p", "--print", action="store_true", help="print the processes it would run and stop")
    return parser


def _target(words: Sequence[str], environment: dict[str, str]) -> tuple[Path, dict[str, str]]:
    names = [word for word in words if ":=" not in word]
    assignments: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition(":=")
        if sign and not name:
            raise LaunchError(f"'{word}' has no name before ':='; write name:=value")
        if sign:
            assignments[name] = value
    if not names:
        there = ", ".join(packages.launch_files(_HOME_PACKAGE, environment))
        raise LaunchError(f"no launch file was named; {_HOME_PACKAGE} has: {there}. For example: sinew launch pick")
    if len(names) > 2:
        raise LaunchError(f"'{names[2]}' is too much: expected [PACKAGE] FILE; arguments are written name:=value")
    if len(names) == 2 and names[0] in packages.launch_files(_HOME_PACKAGE, environment):
        name, sign, value = names[1].partition("=")
        raise LaunchError(
            f"'{names[1]}' after '{names[0]}' is no argument; write {name}:={value if sign else 'VALUE'} "
            f"(sinew launch --show-args {names[0]} lists the arguments)"
        )
    if len(names) == 2:
        return packages.launch_file(names[0], names[1], environment), assignments
    if os.sep in names[0] or names[0].endswith(".xml"):
        path = Path(names[0]).absolute()
        if path.is_file():
            return path, assignments
        if os.sep in names[0]:
            raise LaunchError(f"launch file '{path}' does not exist; check the path")
    return packages.launch_file(_HOME_PACKAGE, names[0], environment), assignments


def _listing(file: Path, arguments: list[Argument]) -> str:
    if not arguments:
        return f"{file.name} takes no arguments."
    lines = [f"Arguments of {file.name} (pass as name:=value):"]
    for argument in arguments:
        lines.append(f"\n  '{argument.name}':")
        lines.append(f"      {argument.description or '(no description)'}")
        if argument.choices:
            lines.append(f"      choices: {', '.join(argument.choices)}")
        lines.append("      required" if argument.default is None else f"      default: '{argument.default}'")
    return "\n".join(lines)


def _printed(actions: Sequence[Action], indent: str = "") -> list[str]:
    lines: list[str] = []
    for action in actions:
        match action:
            case ProcessSpec():
                traits = [f"respawn after {action.respawn_delay_s:g} s"] if action.respawn else []
                traits += ["required"] if action.required else []
                lines.append(f"{indent}# {action.name}  {action.where}{''.join(f', {t}' for t in traits)}")
                lines.append(indent + shlex.join(action.command))
            case Say(text):
                lines.append(f"{indent}# log: {text}")
            case Shutdown(reason):
                lines.append(f"{indent}# shutdown: {reason}")
            case Timer(period_s, inner):
                lines.append(f"{indent}# after {period_s:g} s:")
                lines += _printed(inner, indent + "  ")
    return lines
