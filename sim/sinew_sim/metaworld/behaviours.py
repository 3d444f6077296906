"""One episode of a kind: who acts, with what noise, all drawn from the episode's own random stream."""

import warnings
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from sinew_policies.common.episodes import Episode
from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32, F64
from sinew_sim.metaworld.environment import ACTION_DIM, HORIZON_STEPS, TaskEnvironment
from sinew_sim.metaworld.mixture import KINDS, QualityMix
from sinew_sim.metaworld.tasks import VERSION_SUFFIX, task_names

Rng = Callable[..., np.random.Generator]
Act = Callable[[int, F64], F64]  # step, observation (39,) -> action (4,), unclipped
_OBJECT_POSITIONS = (slice(4, 7), slice(22, 25), slice(36, 39))  # first object now and before, goal


class Expert(Protocol):
    def get_action(self, obs: F64) -> F32: ...


def expert(task: str) -> Expert:
    """Meta-World's scripted expert; some of them remember, so each episode takes a fresh one."""
    from metaworld.policies import ENV_POLICY_MAP

    makers: Mapping[str, Callable[[], Expert]] = ENV_POLICY_MAP
    return makers[task + VERSION_SUFFIX]()


def record(
    environment: TaskEnvironment, kind: str, mix: QualityMix, steps: int, seed: int, *names: str | int
) -> Episode:
    """Plays one episode of `kind`; layout, noise and everything else come from stream(seed, task, *names).

    Raises ConfigError for steps outside Meta-World's horizon or an unknown kind.
    """
    if not 1 <= steps <= HORIZON_STEPS:
        raise ConfigError(f"an episode of {steps} steps was asked for; expected 1 to {HORIZON_STEPS}")
    task = environment.task
    layout = int(stream(seed, "layout", task, *names).integers(2**31))

    def rng(*part: str) -> np.random.Generator:
        return stream(seed, "behaviour", task, *names, *part)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experts warn of every action that we clip
        bearing = stream(seed, "bearing", task).uniform(0.0, 2.0 * np.pi)
        act = _behaviour(environment, kind, mix, steps, layout, rng, bearing)
        return _play(environment, act, steps, layout, kind)


def _behaviour(
    environment: TaskEnvironment, kind: str, mix: QualityMix, steps: int, layout: int, rng: Rng, bearing: float
) -> Act:
    task = environment.task
    if kind in ("partial", "retreat"):
        whole = _play(environment, _noisy(expert(task), mix, rng("noise")), steps, layout, kind)
        done = int(np.argmax(whole.successes)) if whole.succeeded else steps
        turn = int(rng("turn").uniform(*mix.way_range) * done)
        return _turning(kind, task, mix, turn, rng)
    if kind == "misled":
        return _misled(task, mix, bearing, rng("noise"))
    if kind not in _BEHAVIOURS:
        raise ConfigError(f"there is no kind of episode '{kind}'; {name_hint(kind, KINDS)}")
    return _BEHAVIOURS[kind](task, mix, rng("noise"))


def _play(environment: TaskEnvironment, act: Act, steps: int, layout: int, source: str) -> Episode:
    observation = environment.reset(layout)
    observations, actions = [observation], []
    rewards, successes = [], []
    for k in range(steps):
        # What is played is exactly what is stored: clipped after the noise, in single precision.
        action = np.clip(act(k, observation), -1.0, 1.0).astype(np.float32)
        step = environment.step(action.astype(np.float64))
        observation = step.observation
        actions.append(action)
        observations.append(observation)
        rewards.append(step.reward)
        successes.append(step.success)
    states = np.asarray(observations, np.float32)  # (T + 1, 39)
    return Episode(
        task=environment.task,
        observations=states[:-1],
        actions=np.asarray(actions),
        rewards=np.asarray(rewards, np.float32),
        successes=np.asarray(successes, np.bool_),
        next_observations=states[1:],
        source=source,
        seed=layout,
    )


def _noisy(policy: Expert, mix: QualityMix, rng: np.random.Generator) -> Act:
    sigma = rng.uniform(*mix.sigma)
    return lambda _, observation: _act(policy, observation) + rng.normal(0.0, sigma, ACTION_DIM)


def _expert(task: str, mix: QualityMix, rng: np.random.Generator) -> Act:
    return _noisy(expert(task), mix, rng)


def _epsilon(task: str, mix: QualityMix, rng: np.random.Generator) -> Act:
    policy, epsilon = expert(task), rng.uniform(*mix.epsilon_range)

    def act(_: int, observation: F64) -> F64:
        chosen = _act(policy, observation)
        return rng.uniform(-1.0, 1.0, ACTION_DIM) if rng.random() < epsilon else chosen

    return act


def _wrong_task(task: str, mix: QualityMix, rng: np.random.Generator) -> Act:
    others = [name for name in task_names() if name != task]
    return _noisy(expert(others[rng.integers(len(others))]), mix, rng)


def _random(_: str, mix: QualityMix, rng: np.random.Generator) -> Act:
    return lambda _step, _observation: rng.uniform(-1.0, 1.0, ACTION_DIM)


def _wander(_: str, mix: QualityMix, rng: np.random.Generator) -> Act:
    walk = np.zeros(ACTION_DIM)

    def act(_step: int, _observation: F64) -> F64:
        walk[:] = 0.8 * walk + 0.6 * rng.normal(size=ACTION_DIM)  # spread 1, forgotten after five steps
        return walk.copy()

    return act


def _misled(task: str, mix: QualityMix, bearing: float, rng: np.random.Generator) -> Act:
    offset_m = np.array([np.cos(bearing), np.sin(bearing), 0.0]) * rng.uniform(*mix.offset_m)
    noisy = _noisy(expert(task), mix, rng)

    def act(step: int, observation: F64) -> F64:
        seen = observation.copy()
        for place in _OBJECT_POSITIONS:
            seen[place] += offset_m
        return noisy(step, seen)

    return act


def _turning(kind: str, task: str, mix: QualityMix, turn: int, rng: Rng) -> Act:
    """Up to step `turn` exactly what the noisy expert did, so that it has not succeeded by then."""
    noisy, own = _noisy(expert(task), mix, rng("noise")), rng("after")
    astray = _astray(task, mix, own)
    back: list[F64] = []  # what was played, to be undone from its end

    def act(step: int, observation: F64) -> F64:
        if step < turn:
            back.append(noisy(step, observation))
            return back[-1]
        if kind == "retreat":
            undone = -back.pop() if back else np.zeros(ACTION_DIM)
            return undone + own.normal(0.0, 0.1, ACTION_DIM)
        return astray(step, observation)

    return act


def _astray(task: str, mix: QualityMix, rng: np.random.Generator) -> Act:
    drift = rng.uniform(-1.0, 1.0, ACTION_DIM)

    def drifting(_step: int, _observation: F64) -> F64:
        return drift + rng.normal(0.0, 0.1, ACTION_DIM)

    return (drifting, _wander(task, mix, rng), _wrong_task(task, mix, rng))[rng.integers(3)]


def _act(policy: Expert, observation: F64) -> F64:
    # Experts of other tasks divide by distances that are 0 here: such an action is none.
    return np.nan_to_num(np.asarray(policy.get_action(observation), np.float64), posinf=1.0, neginf=-1.0)


_BEHAVIOURS: dict[str, Callable[[str, QualityMix, np.random.Generator], Act]] = {
    "expert": _expert,
    "epsilon": _epsilon,
    "wrong-task": _wrong_task,
    "random": _random,
    "wander": _wander,
}
