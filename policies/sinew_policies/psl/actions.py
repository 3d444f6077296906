"""The policy's six actions. Habitat numbers the two looks the other way round."""

from enum import IntEnum

from sinew_policies.common.errors import DataError


class Action(IntEnum):
    """Index of the action in the policy's output."""

    STOP = 0
    FORWARD = 1  # 0.25 m
    TURN_LEFT = 2  # 30 degrees
    TURN_RIGHT = 3
    LOOK_DOWN = 4  # 30 degrees
    LOOK_UP = 5


_SWAPPED = {Action.LOOK_DOWN: 5, Action.LOOK_UP: 4}


def to_habitat(action: Action | int) -> int:
    """Habitat's number of a policy action.

    Raises DataError outside 0..5.
    """
    known = _action(action)
    return _SWAPPED.get(known, int(known))


def from_habitat(number: int) -> Action:
    """Policy action of Habitat's number.

    Raises DataError outside 0..5.
    """
    return Action(to_habitat(number))  # swapping twice is the identity


def _action(number: Action | int) -> Action:
    try:
        return Action(number)
    except ValueError:
        names = ", ".join(f"{a.value} {a.name.lower()}" for a in Action)
        raise DataError(f"there is no action {number}; valid actions: {names}") from None
