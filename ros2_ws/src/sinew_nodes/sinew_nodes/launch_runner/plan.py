"""What a launch file asks for, with nothing left to evaluate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessSpec:
    name: str  # label of its output and of messages: the node's full name, or the executable's
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]  # complete
    where: str  # file:line
    cwd: str | None = None
    output: str = "screen"
    respawn: bool = False
    respawn_delay_s: float = 0.0
    respawn_max_retries: int = -1  # -1: for ever
    required: bool = False  # on_exit="shutdown"


@dataclass(frozen=True)
class Say:
    text: str


@dataclass(frozen=True)
class Shutdown:
    reason: str


@dataclass(frozen=True)
class Timer:
    period_s: float
    actions: "tuple[Action, ...]"


Action = ProcessSpec | Say | Shutdown | Timer


def processes(actions: tuple[Action, ...]) -> list[ProcessSpec]:
    """Every process of a plan, those behind timers included."""
    found: list[ProcessSpec] = []
    for action in actions:
        if isinstance(action, ProcessSpec):
            found.append(action)
        elif isinstance(action, Timer):
            found += processes(action.actions)
    return found
