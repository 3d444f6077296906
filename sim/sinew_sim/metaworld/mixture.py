"""Which kinds of episode a data set holds, and in what shares."""

from dataclasses import dataclass

import numpy as np

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.seeds import stream

KINDS = ("expert", "epsilon", "wrong-task", "random", "wander", "partial", "retreat", "misled")


@dataclass(frozen=True)
class QualityMix:
    """Shares of the kinds (they are normalised) and the strength of their noise.

    expert: scripted expert plus N(0, sigma) on each action, sigma drawn per episode
    epsilon: the expert's action replaced by a random one with a probability drawn per episode
    wrong-task: the noisy expert of another task
    random: uniform actions, a new one each step, which hardly move the hand
    wander: random actions that change slowly, which carry the hand about
    partial: the noisy expert up to a part of its way to success, from there it drifts, wanders or does another task
    retreat: the same, but from there it undoes the expert's motion
    misled: the noisy expert that sees object and goal shifted sideways, by a distance drawn per episode, in a
        direction common to all episodes of a task and seed, as by a badly calibrated camera

    Raises ConfigError for a share or range outside its domain.
    """

    name: str
    expert: float = 0.0
    epsilon: float = 0.0
    wrong_task: float = 0.0
    random: float = 0.0
    wander: float = 0.0
    partial: float = 0.0
    retreat: float = 0.0
    misled: float = 0.0
    sigma: tuple[float, float] = (0.0, 0.5)  # of every expert's action noise
    epsilon_range: tuple[float, float] = (0.3, 0.9)
    way_range: tuple[float, float] = (0.3, 0.98)  # part of the way to success at which partial and retreat turn
    offset_m: tuple[float, float] = (0.03, 0.12)
    only_experts_succeed: bool = False  # what turns out otherwise is dropped and played anew
    period: int = 20  # so many episodes in a row have the shares, as near as whole numbers allow

    def __post_init__(self) -> None:
        shares = self.shares
        if min(shares.values()) < 0 or sum(shares.values()) <= 0:
            raise ConfigError(f"mixture '{self.name}' has shares {shares}; expected none below 0 and a sum above 0")
        for name in ("sigma", "epsilon_range", "way_range", "offset_m"):
            low, high = getattr(self, name)
            top = 1.0 if name.endswith("range") else np.inf
            if not 0 <= low <= high <= top:
                raise ConfigError(
                    f"mixture '{self.name}': {name} is ({low}, {high}); expected 0 <= low <= high <= {top}"
                )
        if self.period < 1:
            raise ConfigError(f"mixture '{self.name}': period is {self.period}; expected 1 or more")

    @property
    def shares(self) -> dict[str, float]:
        return {kind: getattr(self, kind.replace("-", "_")) for kind in KINDS}


GRADED = QualityMix("graded", expert=0.5, epsilon=0.2, wrong_task=0.15, random=0.15)
# Hardly any success: most episodes fail in the same way, so imitating them all fails too.
SCARCE = QualityMix(
    "scarce",
    expert=0.04,
    misled=0.56,
    partial=0.2,
    wander=0.2,
    sigma=(0.0, 0.4),
    way_range=(0.2, 1.0),
    offset_m=(0.06, 0.12),
    only_experts_succeed=True,
    period=25,
)
# As scarce, but those that fail turn round half-way: what they did up to there was right. All turn at one place:
# turns spread over the way do not fool imitation, which sees the hand's motion in the previous frame and goes on.
TURNING = QualityMix(
    "turning",
    expert=0.04,
    wrong_task=0.28,
    wander=0.36,
    retreat=0.32,
    sigma=(0.0, 0.4),
    way_range=(0.5, 0.6),
    only_experts_succeed=True,
    period=25,
)
MIXTURES = {mix.name: mix for mix in (GRADED, SCARCE, TURNING)}


def mixture(name: str) -> QualityMix:
    """Raises ConfigError for a name that does not exist."""
    if name not in MIXTURES:
        raise ConfigError(f"there is no mixture '{name}'; {name_hint(name, MIXTURES)}")
    return MIXTURES[name]


def kinds(mix: QualityMix, count: int, seed: int, *stream_names: str | int) -> tuple[str, ...]:
    """`count` kinds in random order, their numbers as near to the shares as whole numbers allow."""
    shares = np.array(list(mix.shares.values()))
    exact = shares / shares.sum() * count  # (kinds,)
    numbers = np.floor(exact).astype(int)
    for k in np.argsort(numbers - exact, kind="stable")[: count - int(numbers.sum())]:
        numbers[k] += 1
    ordered = np.repeat(np.array(KINDS, dtype=object), numbers)
    return tuple(str(kind) for kind in stream(seed, "kinds", *stream_names).permutation(ordered))
