"""Random frames and goals in the published policy's shapes, at tiny width."""

import numpy as np
from numpy.typing import NDArray

from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.environment import Arrays, Transition
from sinew_policies.psl.metrics import Outcome
from sinew_policies.psl.network import PSLPolicy
from sinew_policies.psl.trainable import TrainablePolicy

TINY = PSLConfig.tiny()


def make_published() -> TrainablePolicy:
    return TrainablePolicy(PSLPolicy(TINY))


class PublishedTask:
    """Rewards going forward; environment i ends its episodes every i + 2 steps."""

    def __init__(self, n_envs: int) -> None:
        self.n_envs, self.n_actions = n_envs, TINY.n_actions
        self._t = np.zeros(n_envs, np.int64)
        self._draw = np.random.default_rng(0)

    def reset(self) -> Arrays:
        frames = self._draw.integers(0, 256, (self.n_envs, TINY.image_height, TINY.image_width, 3), np.uint8)
        goal = self._draw.normal(size=(self.n_envs, 1, TINY.clip.code)).astype(np.float32)
        return {"frames": frames, "goal": goal}

    def step(self, actions: NDArray[np.int64]) -> Transition:
        self._t += 1
        dones = self._t >= np.arange(self.n_envs) + 2
        self._t[dones] = 0
        outcomes = tuple(Outcome(False, 1.0, 1.0, 0.0, 2) for _ in range(int(dones.sum())))
        return Transition(self.reset(), (actions == 1).astype(np.float32), dones, outcomes)

    def state(self) -> Arrays:
        return {"t": self._t}

    def restore(self, state: Arrays) -> None:
        self._t[:] = state["t"]


def make_published_task(rank: int) -> PublishedTask:
    return PublishedTask(2)
