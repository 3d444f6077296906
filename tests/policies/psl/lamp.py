"""A small world of pictures for the full policy: turn towards the side that is lit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.seeds import stream
from sinew_policies.psl.actions import Action
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.environment import Arrays, Transition
from sinew_policies.psl.metrics import Outcome


@dataclass
class Lamp:
    """Each step rewards the right turn; every episode lasts `steps`. Chance gives 1/6 a step."""

    n_envs: int
    config: PSLConfig
    seed: int = 0
    rank: int = 0
    steps: int = 4

    def __post_init__(self) -> None:
        self.n_actions = self.config.n_actions
        self._t = 0
        self._lit_right = np.zeros(self.n_envs, bool)
        self._sum = np.zeros(self.n_envs)

    def reset(self) -> Arrays:
        return self._observe()

    def step(self, actions: NDArray[np.int64]) -> Transition:
        rewards = (actions == np.where(self._lit_right, Action.TURN_RIGHT, Action.TURN_LEFT)).astype(np.float32)
        self._sum += rewards
        self._t += 1
        done = self._t % self.steps == 0
        outcomes = tuple(Outcome(True, 1.0, 0.0, 1.0, self.steps, float(r)) for r in self._sum) if done else ()
        if done:
            self._sum[:] = 0.0
        return Transition(self._observe(), rewards, np.full(self.n_envs, done), outcomes)

    def state(self) -> Arrays:
        return {"t": np.array(self._t), "sum": self._sum}

    def restore(self, state: Arrays) -> None:
        self._t, self._sum[:] = int(state["t"]), state["sum"]

    def _observe(self) -> Arrays:
        rng = stream(self.seed, "lamp", self.rank, self._t)
        c = self.config
        self._lit_right = rng.random(self.n_envs) < 0.5
        noise = rng.integers(0, 90, (self.n_envs, c.image_height, c.image_width, 3))
        right = np.arange(c.image_width) >= c.image_width // 2
        lit = right == self._lit_right[:, None]  # (N, W)
        frames = (noise + 160 * lit[:, None, :, None]).astype(np.uint8)
        return {"frames": frames, "goal": np.ones((self.n_envs, 1, c.clip.code), np.float32)}
