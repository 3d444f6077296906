"""Synthetic tasks with a known quality: a hand goes to an object and carries it to a goal, more or less well."""

import numpy as np

from sinew_policies.common.episodes import Segmented
from sinew_policies.pearl.features import METAWORLD


def task(
    name: str,
    quality: np.ndarray,
    rng: np.random.Generator,
    *,
    steps: int = 20,
    action_dim: int = 4,
    turn: float = 0.0,
) -> Segmented:
    """One segment per quality (0 idle, 1 arrives); tasks differ in places, in `turn` about z and in noise.

    Actions shake the more, the worse the segment.
    """
    n = len(quality)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    goal = rng.normal([0.0, 0.7, 0.1], 0.02, (n, 1, 3))
    object_start = rng.normal([0.3, 0.5, 0.1], 0.02, (n, 1, 3))
    hand_start = rng.normal([-0.2, 0.4, 0.3], 0.02, (n, 1, 3))
    time = np.linspace(0.0, 1.0, steps)[None, :, None]
    q = quality[:, None, None]
    grasp = np.clip(2.0 * time * q, 0.0, 1.0)
    carry = np.clip(2.0 * time * q - 0.6, 0.0, 1.0)
    place = object_start + carry * (goal - object_start)
    hand = hand_start + grasp * (place - hand_start)
    observations = rng.normal(0.0, 0.01, (n, steps, 39))
    for start, x in (
        (METAWORLD.hand, hand),
        (METAWORLD.object, place),
        (METAWORLD.goal, np.broadcast_to(goal, hand.shape)),
    ):
        observations[:, :, start : start + 3] = x @ rotation.T
    shake = (0.05 + 0.5 * (1.0 - quality))[:, None, None]
    actions = np.clip(rng.normal(0.0, 1.0, (n, steps, action_dim)) * shake, -1.0, 1.0)
    return Segmented(
        task=name,
        observations=observations.astype(np.float32),
        actions=actions.astype(np.float32),
        rewards=np.zeros((n, steps), np.float32),
        successes=np.zeros((n, steps), bool),
        episode_index=np.arange(n),
        start=np.zeros(n, np.int64),
    )


def labels(quality: np.ndarray) -> np.ndarray:
    """z (N, N) by quality."""
    return 0.5 + 0.5 * np.sign(quality[:, None] - quality[None, :])


def right(z: np.ndarray, quality: np.ndarray, counted: np.ndarray | None = None) -> float:
    """Share of counted pairs on the right side."""
    mask = ~np.eye(len(z), dtype=bool) if counted is None else counted & ~np.eye(len(z), dtype=bool)
    return float(((z > 0.5) == (labels(quality) > 0.5))[mask].mean())
