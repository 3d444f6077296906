"""`sinew`: each subcommand is a line of this table, and its module is imported only when it is asked for."""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper

from sinew_policies.common.errors import ConfigError, MissingExtra, SinewError, name_hint
from sinew_policies.common.ros_environment import enter_overlay, workspace_built

_MOST = 5000  # characters of an error
_OUT_OF_MEMORY = ("allocate memory", "out of memory")


@dataclass(frozen=True)
class Command:
    target: str  # "module:function"; the function takes the remaining words and returns an exit code
    about: str
    needs_ros: bool = False


COMMANDS: dict[str, Command] = {
    "doctor": Command("sinew_policies.common.doctor:main", "check this machine; each fault with its fix"),
    "demo": Command("sinew_nodes.demo.command:main", "clear a simulated table through ROS 2", needs_ros=True),
    "launch": Command("sinew_nodes.launch_runner.command:main", "run a launch file", needs_ros=True),
    "datagen grasp": Command("sinew_sim.datagen.command:main", "generate labelled grasping scenes"),
    "datagen metaworld": Command("sinew_sim.datagen.metaworld:main", "record graded Meta-World episodes"),
    "datagen objects": Command("sinew_sim.objects.export:main", "write generated objects as meshes"),
    "datagen touch": Command("sinew_sim.datagen.touch_command:main", "generate labelled gel images to train T3 on"),
    "train m2t2": Command("sinew_policies.m2t2.train:main", "train the grasping network"),
    "train reward": Command("sinew_policies.pearl.reward_command:main", "learn a reward from preferences"),
    "train policy": Command(
        "sinew_policies.pearl.policy_command:main", "learn a policy from episodes and a reward"
    ),
    "train robomimic": Command("sinew_sim.robomimic.command:main", "clone recorded episodes with robomimic"),
    "train psl": Command("sinew_sim.evaluation.psl_command:main", "train a navigation policy in the embedded maze"),
    "train t3 pretrain": Command("sinew_policies.t3.train:pretrain", "train T3 to reconstruct masked gel images"),
    "train t3 supervise": Command("sinew_policies.t3.train:supervise", "train all labelled heads of T3"),
    "train t3 finetune": Command("sinew_policies.t3.train:finetune", "train one head of T3, parts frozen"),
    "align": Command("sinew_sim.evaluation.align_command:main", "carry preference labels to another task"),
    "eval grasp": Command("sinew_sim.evaluation.command:main", "clear seeded tables and report success rates"),
    "eval pearl": Command("sinew_sim.evaluation.pearl_command:main", "judge transferred labels, rewards, policies"),
    "eval policy": Command("sinew_sim.evaluation.policy_command:main", "play trained policies in Meta-World"),
    "inspect": Command("sinew_sim.indoor.command:main", "say what HM3D's episode, mesh and label files hold"),
    "devices view": Command("sinew_sim.cell.viewer:main", "open the cell in MuJoCo's viewer"),
}


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    if words and words[0] == "--version":
        print(f"sinew {_version()}")
        return 0
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    try:
        name, rest = resolve(words)
        command = COMMANDS[name]
        if command.needs_ros and argv is None:
            if not workspace_built():
                raise ConfigError("the ROS 2 workspace is not built; run scripts/setup")
            enter_overlay()
        return load(command.target)(rest) or 0
    except SinewError as error:
        print(f"sinew: {_shown(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away; the interpreter must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is not None:
            advice = f"'{_shown(str(error.filename))}'; check the path and its permissions"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "nothing that was begun is half-written; free some space and give the command again"
        else:
            raise  # no path to name: a fault of ours
        print(f"sinew: {error.strerror}: {advice}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for it on the CPU.
        said = str(error).partition("\n")[0]
        if not isinstance(error, MemoryError) and not any(words in said for words in _OUT_OF_MEMORY):
            raise
        print(f"sinew: out of memory ({_shown(said)}); take a smaller network, batch or data set", file=sys.stderr)
        return 2


def _shown(text: str) -> str:
    """Names from strangers' files cannot steer the terminal, nor fill it."""
    text = text if len(text) <= _MOST else f"{text[:_MOST]}…"
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def resolve(words: Sequence[str]) -> tuple[str, list[str]]:
    """(name in the table, remaining words).

    Raises ConfigError naming the nearest commands.
    """
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return name, list(words[length:])
    known: tuple[str, ...] = ()  # the words that do begin a command
    for word in words:
        if not _next_words((*known, word)):
            break
        known = (*known, word)
    group, valid = " ".join(known), _next_words(known)
    word = words[len(known)] if len(words) > len(known) else ""
    if not group:
        what = f"there is no command '{word}'"
    else:
        what = f"'{group}' has no subcommand '{word}'" if word else f"'{group}' needs a subcommand"
    raise ConfigError(f"{what}; {name_hint(word, valid)}")


def _next_words(prefix: tuple[str, ...]) -> set[str]:
    """Words that may follow in names that begin with `prefix`."""
    names = [tuple(name.split()) for name in COMMANDS]
    n = len(prefix)
    return {name[n] for name in names if len(name) > n and name[:n] == prefix}


def load(target: str) -> Callable[[Sequence[str]], int | None]:
    """The function behind "module:function".

    Raises MissingExtra where a package of an extra is not installed.
    """
    module, _, function = target.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in _EXTRAS:
            raise MissingExtra(package, _EXTRAS[package]) from error
        raise


_EXTRAS = {
    "mujoco": "sim",
    "mink": "sim",
    "ompl": "sim",
    "ruckig": "sim",
    "trimesh": "sim",
    "coacd": "sim",
    "viser": "view",
    "mcap": "view",
    "foxglove": "view",
    "av": "view",
    "h5py": "learning",
    "ot": "learning",
    "metaworld": "learning",
    "robomimic": "robomimic",
    "gymnasium": "learning",
    "webdataset": "touch",
    "PIL": "touch",
    "openvino": "quant",
    "nncf": "quant",
    "open_clip": "clip",
    "ftfy": "clip",
    "regex": "clip",
    "matplotlib": "dev",
}


def _overview() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = ["usage: sinew COMMAND …", "", "commands:"]
    lines += [f"  {name:<{width}}  {command.about}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "`sinew COMMAND --help` says more; `sinew launch --show-args pick` lists a launch file's arguments.",
    ]
    return "\n".join(lines)


def _version() -> str:
    try:
        return version("sinew-robotics")
    except PackageNotFoundError:
        return "unknown (not installed)"


def program_parser(name: str, about: str) -> argparse.ArgumentParser:
    """A parser for a subcommand, with its name as the person types it."""
    return argparse.ArgumentParser(prog=f"sinew {name}", description=about)


if __name__ == "__main__":
    sys.exit(main())
