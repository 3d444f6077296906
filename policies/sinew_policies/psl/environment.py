"""What the trainer needs of an environment: N copies that step together and go on to their next episodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import DataError
from sinew_policies.psl.metrics import Outcome

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Transition:
    """After one action in each of N environments.

    Where an episode has ended, `observations` already belong to the next one.
    """

    observations: Arrays  # each (N, ...), by name
    rewards: NDArray[np.floating]  # (N,)
    dones: NDArray[np.bool_]  # (N,)
    outcomes: tuple[Outcome, ...]  # of the episodes that ended, in order of their environment


class VectorEnvironment(Protocol):
    @property
    def n_envs(self) -> int: ...

    @property
    def n_actions(self) -> int: ...

    def reset(self) -> Arrays:
        """Observations of N new episodes."""
        ...

    def step(self, actions: NDArray[np.int64]) -> Transition:
        """`actions` (N,), 0..n_actions-1."""
        ...

    def state(self) -> Arrays:
        """Everything that decides what comes next; a training resumes from it bit by bit."""
        ...

    def restore(self, state: Arrays) -> None: ...


def check_observations(observations: Arrays, n_envs: int, expected: Arrays | None = None) -> None:
    """Raises DataError for arrays of other shapes or kinds than `expected`, or that are not finite."""
    if expected is not None and observations.keys() != expected.keys():
        raise DataError(
            f"the environment observes {sorted(observations)}, before it observed {sorted(expected)}; "
            "an environment's observations must keep their names"
        )
    for name, array in observations.items():
        wanted = (n_envs, *array.shape[1:]) if expected is None else expected[name].shape
        if array.shape != wanted or array.ndim == 0:
            raise DataError(f"observation '{name}' has shape {array.shape}; expected {wanted}, environments first")
        if array.dtype.kind == "f":
            _check_finite(array, f"observation '{name}'")


def check_transition(transition: Transition, n_envs: int, expected: Arrays) -> None:
    """Raises DataError for rewards that are not finite and for wrong shapes, naming the environment."""
    for name, array in (("rewards", transition.rewards), ("dones", transition.dones)):
        if array.shape != (n_envs,):
            raise DataError(f"{name} have shape {array.shape}; expected ({n_envs},), one per environment")
    if transition.dones.dtype != np.bool_:
        raise DataError(f"dones are {transition.dones.dtype}; expected bool")
    _check_finite(transition.rewards, "reward")
    if len(transition.outcomes) != int(transition.dones.sum()):
        raise DataError(
            f"{int(transition.dones.sum())} episodes ended, with {len(transition.outcomes)} outcomes; give one "
            "for each"
        )
    check_observations(transition.observations, n_envs, expected)


def _check_finite(array: np.ndarray, what: str) -> None:
    finite = np.isfinite(array.reshape(len(array), -1)).all(1)
    if not finite.all():
        bad = int(np.argmin(finite))
        value = array[bad] if array.ndim == 1 else "NaN or infinite"
        raise DataError(
            f"{what} of environment {bad} is {value}; expected finite numbers: repair the environment, nothing was "
            "learned from this step"
        )
