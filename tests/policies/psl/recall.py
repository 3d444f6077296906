"""A small environment for the trainer's tests: remember a cue that is shown only when an episode starts."""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.seeds import stream
from sinew_policies.psl.actor_critic import SmallPolicy, SmallPolicyConfig
from sinew_policies.psl.environment import Arrays, Transition
from sinew_policies.psl.metrics import Outcome

CUES = 3


class Recall:
    """Each step rewards the action that equals the cue; chance gives 1/3, a policy without memory little more."""

    def __init__(self, n_envs: int, steps: int = 4, seed: int = 0, rank: int = 0, delay_s: float = 0.0) -> None:
        self.n_envs, self.n_actions = n_envs, CUES
        self._steps, self._seed, self._rank, self._delay_s = steps, seed, rank, delay_s
        self._count = np.zeros(n_envs, np.int64)
        self._t = np.zeros(n_envs, np.int64)
        self._cue = np.zeros(n_envs, np.int64)
        self._sum = np.zeros(n_envs)

    def reset(self) -> Arrays:
        for i in range(self.n_envs):
            self._start(i)
        self._t[:] = np.arange(self.n_envs) % self._steps  # episodes end at different times
        return self._observe()

    def step(self, actions: NDArray[np.int64]) -> Transition:
        time.sleep(self._delay_s)
        rewards = (actions == self._cue).astype(np.float32)
        self._sum += rewards
        self._t += 1
        dones = self._t >= self._steps
        ended = [Outcome(True, 1.0, 0.0, 1.0, self._steps, float(self._sum[i])) for i in np.flatnonzero(dones)]
        for i in np.flatnonzero(dones):
            self._start(int(i))
        return Transition(self._observe(), rewards, dones, tuple(ended))

    def state(self) -> Arrays:
        return {"count": self._count, "t": self._t, "cue": self._cue, "sum": self._sum}

    def restore(self, state: Arrays) -> None:
        self._count[:], self._t[:] = state["count"], state["t"]
        self._cue[:], self._sum[:] = state["cue"], state["sum"]

    def _start(self, i: int) -> None:
        self._cue[i] = stream(self._seed, "cue", self._rank, i, int(self._count[i])).integers(CUES)
        self._count[i] += 1
        self._t[i] = 0
        self._sum[i] = 0.0

    def _observe(self) -> Arrays:
        shown = np.where(self._t == 0, self._cue, -1)
        view = (shown[:, None] == np.arange(CUES)).astype(np.float32)
        return {"view": view[:, None], "goal": np.ones((self.n_envs, 1, CUES), np.float32)}


class Ill(Recall):
    """Its first environment pays NaN from its second step on."""

    def step(self, actions: NDArray[np.int64]) -> Transition:
        transition = super().step(actions)
        if self._t[0] != 1:
            transition.rewards[0] = np.nan
        return transition


@dataclass(frozen=True)
class MakeRecall:
    n_envs: int = 16
    slow_rank: int = -1
    delay_s: float = 0.0
    nan_rank: int = -1  # whose second reward is NaN

    def __call__(self, rank: int) -> Recall:
        delay_s = self.delay_s if rank == self.slow_rank else 0.0
        return (Ill if rank == self.nan_rank else Recall)(self.n_envs, rank=rank, delay_s=delay_s)


SMALL = SmallPolicyConfig(columns=1, channels=CUES, actions=CUES, code=16, action_code=4, hidden=24)
make_policy = partial(SmallPolicy, SMALL)
