"""Rewards brought to one scale, and the control rewards against which every result is read.

The scale of a reward decides the outcome of advantage-weighted learning: with weights exp(beta * advantage) a large
scale saturates the clip and a small one is cloning. So policies never see a raw scale.
"""

from typing import Literal, get_args

import numpy as np

from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32

Control = Literal["zero", "random", "flipped"]
CONTROLS: tuple[str, ...] = get_args(Control)

_CONSTANT = 1e-6  # spread relative to the largest value, below which a reward says nothing


def standardised(rewards: F32) -> F32:
    """Rewards (K,) with mean 0 and spread 1; all zero where the reward is constant.

    Raises DataError for no rewards or values that are not finite.
    """
    check_rewards(rewards)
    r = rewards.astype(np.float64)
    spread, largest = r.std(), np.abs(r).max()
    if spread <= _CONSTANT * largest:
        return np.zeros_like(rewards)
    return ((r - r.mean()) / spread).astype(np.float32)


def control_rewards(control: str, rewards: F32, seed: int) -> F32:
    """`zero`: no reward, so that advantage weighting becomes cloning. `random`: the same values (K,) in random
    order. `flipped`: negated. Raises ConfigError for another name.
    """
    check_rewards(rewards)
    match control:
        case "zero":
            return np.zeros_like(rewards)
        case "random":
            return stream(seed, "random rewards").permutation(rewards)
        case "flipped":
            return -rewards
    raise ConfigError(f"there is no control reward '{control}'; {name_hint(control, CONTROLS)}")


def check_rewards(rewards: F32) -> None:
    """Raises DataError unless rewards are a non-empty finite vector."""
    if rewards.ndim != 1 or len(rewards) == 0:
        raise DataError(f"rewards have shape {rewards.shape}; expected one number per step, at least one")
    finite = np.isfinite(rewards)
    if not finite.all():
        raise DataError(
            f"reward of step {int(np.flatnonzero(~finite)[0])} is not finite ({int((~finite).sum())} of "
            f"{len(rewards)}); the reward model diverged or the data are damaged: train it again"
        )
