"""Who plays the maze: the trained policy, the baselines it must beat and the shortest path as ceiling."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.psl.actor_critic import ActorCritic
from sinew_policies.psl.environment import Arrays
from sinew_policies.psl.metrics import Outcome
from sinew_policies.psl.rollout import sample_actions
from sinew_sim.evaluation.psl_maze import MazeTask
from sinew_sim.maze.geodesic import interpolate
from sinew_sim.maze.simulator import FORWARD, LEFT, RIGHT, STOP, MazeSimulator

Actions = NDArray[np.int64]

FORWARD_BIASED = (0.02, 0.60, 0.19, 0.19)  # stop, forward, left, right
_ARRIVED_M = 0.3  # where the shortest path stops


class Player(Protocol):
    def choose(self, observations: Arrays, started: NDArray[np.bool_]) -> Actions:
        """Actions (N,); `started` (N,) is where an episode begins at this step."""
        ...


class PolicyPlayer:
    """A trained policy; samples its actions, as PSL's evaluation does."""

    def __init__(self, network: ActorCritic, n_envs: int, seed: int) -> None:
        self._network = network.eval()
        self._draw = stream(seed, "policy player")
        self._state = network.initial_state(n_envs)
        self._previous = torch.zeros(n_envs, dtype=torch.int64)

    @torch.no_grad()
    def choose(self, observations: Arrays, started: NDArray[np.bool_]) -> Actions:
        out = self._network(
            {name: torch.from_numpy(np.array(array))[None] for name, array in observations.items()},
            self._previous[None],
            torch.from_numpy(~started)[None],
            self._state,
        )
        self._state = out.state
        self._previous = sample_actions(torch.log_softmax(out.logits[0], -1), self._draw.random(len(started)))
        return self._previous.numpy()


class ChancePlayer:
    """Draws each action with fixed probabilities, blind to everything."""

    def __init__(self, probabilities: tuple[float, ...], seed: int) -> None:
        self._p = np.asarray(probabilities)
        self._draw = stream(seed, "chance player")

    def choose(self, observations: Arrays, started: NDArray[np.bool_]) -> Actions:
        return self._draw.choice(len(self._p), len(started), p=self._p)


class ToldToStop:
    """Another player's moves, but STOP exactly where it succeeds: what wandering alone can reach."""

    def __init__(self, player: Player, simulator: MazeSimulator, success_m: float) -> None:
        self._player, self._simulator, self._success_m = player, simulator, success_m

    def choose(self, observations: Arrays, started: NDArray[np.bool_]) -> Actions:
        moves = self._player.choose(observations, started)
        walking = np.where(moves == STOP, FORWARD, moves)
        return np.where(self._simulator.distance_m() < self._success_m, STOP, walking)


class ShortestPath:
    """Knows the map: turns to the heading whose step forward comes nearest to the goal, then walks."""

    def __init__(self, simulator: MazeSimulator) -> None:
        self._simulator = simulator

    def choose(self, observations: Arrays, started: NDArray[np.bool_]) -> Actions:
        simulator = self._simulator
        turn = simulator.config.turn_rad
        turns = np.arange(-(round(np.pi / turn) - 1), round(np.pi / turn) + 1)  # left is positive
        after = np.stack([self._distance_after(k * turn) for k in turns]) + 1e-3 * np.abs(turns)[:, None]
        best = turns[after.argmin(0)]
        action = np.where(best > 0, LEFT, np.where(best < 0, RIGHT, FORWARD))
        return np.where(simulator.distance_m() < _ARRIVED_M, STOP, action)

    def _distance_after(self, turn_rad: float) -> NDArray[np.float64]:
        """(N,) distance to the goal after turning and one step forward."""
        simulator = self._simulator
        return interpolate(simulator.fields(), simulator.ahead(turn_rad)[:, :2])


MakePlayer = Callable[[MazeTask, int], Player]

BASELINES: dict[str, MakePlayer] = {
    "random": lambda task, seed: ChancePlayer((0.25, 0.25, 0.25, 0.25), seed),
    "forward-biased": lambda task, seed: ChancePlayer(FORWARD_BIASED, seed),
    "forward-told-to-stop": lambda task, seed: ToldToStop(
        ChancePlayer(FORWARD_BIASED, seed), task.simulator, task.config.reward.distance_m
    ),
    "shortest-path": lambda task, seed: ShortestPath(task.simulator),
}


def play(task: MazeTask, player: Player, episodes: int) -> list[Outcome]:
    """Every one of the first `episodes` of the task's set once.

    Raises ConfigError unless they divide evenly among the environments: stopping early would prefer short ones.
    """
    n = task.n_envs
    if episodes < 1 or episodes % n or not task.once:
        raise ConfigError(f"{episodes} episodes do not divide among {n} environments that play each once")
    share = episodes // n
    outcomes: list[list[Outcome]] = [[] for _ in range(n)]
    observations, started = task.reset(), np.ones(n, bool)
    while any(len(mine) < share for mine in outcomes):
        transition = task.step(player.choose(observations, started))
        for env, outcome in zip(np.flatnonzero(transition.dones), transition.outcomes, strict=True):
            if len(outcomes[env]) < share:
                outcomes[env].append(outcome)
        observations, started = transition.observations, transition.dones
    return [outcome for mine in outcomes for outcome in mine]
