"""What a clear-table run tells: its stage, its attempts, how it ended."""

from dataclasses import dataclass
from enum import Enum


class Stage(Enum):
    PERCEIVE = "perceive"
    CHOOSE = "choose"
    PLAN = "plan"
    REACH = "reach"
    APPROACH = "approach"
    CLOSE = "close"
    LIFT = "lift"
    VERIFY = "verify"
    DROP = "drop"
    RETURN = "return"
    WAIT = "wait"  # a node has died; the arm holds until it is respawned
    DONE = "done"


class Outcome(Enum):
    """How a whole run ended."""

    EMPTY = "empty"
    TOO_MANY_FAILURES = "too_many_failures"
    NODE_LOST = "node_lost"


@dataclass(frozen=True)
class Progress:
    stage: Stage
    attempted: int
    removed: int
    failed: int
    detail: str = ""


@dataclass(frozen=True)
class Attempt:
    """One line of the closing table."""

    index: int
    success: bool
    stage: Stage  # last stage entered
    reason: str  # empty on success
    score: float
    width_m: float


@dataclass(frozen=True)
class Report:
    outcome: Outcome
    attempts: tuple[Attempt, ...]
    message: str

    @property
    def removed(self) -> int:
        return sum(a.success for a in self.attempts)
