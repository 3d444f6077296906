"""Plays a policy on layouts that no collection has seen."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32
from sinew_sim.metaworld.environment import TaskEnvironment

Act = Callable[[F32], F32]  # observation (39,) -> action (4,)


def successes(task: str, act: Act, *, episodes: int, steps: int, seed: int) -> NDArray[np.bool_]:
    """(episodes,) whether the task was done at some step; the same seed plays the same layouts.

    Raises DataError where the policy gives no finite action.
    """
    environment = TaskEnvironment(task)
    layouts = stream(seed, "evaluation layouts", environment.task).integers(2**31, size=episodes)
    return np.array([_succeeds(environment, act, int(layout), steps) for layout in layouts], np.bool_)


def _succeeds(environment: TaskEnvironment, act: Act, layout: int, steps: int) -> bool:
    observation = environment.reset(layout)
    for _ in range(steps):
        step = environment.step(act(observation.astype(np.float32)).astype(np.float64))
        if step.success:
            return True
        observation = step.observation
    return False
