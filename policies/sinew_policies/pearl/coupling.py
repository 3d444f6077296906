"""Couplings between two sets of segments: every solver behind `couple`, which checks what comes back.

Problem, in the notation of fused Gromov-Wasserstein (arXiv 1811.02834), for weights u, v and plans T >= 0 with
T 1 = u, T' 1 = v:
    minimise  alpha * sum |A_ik - B_jl|^2 T_ij T_kl  +  (1 - alpha) * sum L_ij T_ij
alpha = 1, or no linear cost L, is pure Gromov-Wasserstein. A plan that is not finite, loses mass or breaks a
marginal is replaced by the conditional gradient's, and the result says so: sharp entropic solvers do return such
plans on small problems.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from sinew_policies.common.episodes import Bool
from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F64
from sinew_policies.pearl import pot_solvers
from sinew_policies.pearl.assignment import search
from sinew_policies.pearl.enumeration import MAX_POINTS, best_permutations

DEVICES = ("cpu", "cuda")
_CPU_ONLY = ("enumeration", "assignment")
_MARGINAL_TOLERANCE = 0.02  # of a marginal's mean weight


@dataclass(frozen=True)
class Problems:
    """B problems of M source and N target points. Distances symmetric; weights sum to 1; None = uniform."""

    source: F64  # (B, M, M)
    target: F64  # (B, N, N)
    linear: F64 | None = None  # (B, M, N) cost of coupling source i with target j
    source_weights: F64 | None = None  # (B, M)
    target_weights: F64 | None = None  # (B, N)

    def __post_init__(self) -> None:
        b, m, n = len(self.source), self.source.shape[-1], self.target.shape[-1]
        expected = {
            "source": (b, m, m),
            "target": (b, n, n),
            "linear": (b, m, n),
            "source_weights": (b, m),
            "target_weights": (b, n),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape != shape or 0 in shape:
                raise DataError(
                    f"coupling: {name} has shape {value.shape}; expected {shape}, not empty, beside source "
                    f"{self.source.shape} and target {self.target.shape}"
                )
            if not np.isfinite(value).all():
                raise DataError(f"coupling: {name} is not finite; drop the segments that hold NaN or infinity")
        for name in ("source", "target"):
            value = getattr(self, name)
            if not np.allclose(value, np.swapaxes(value, 1, 2)):
                raise DataError(f"coupling: {name} distances are not symmetric; give d(i, k) = d(k, i)")
        for name in ("source_weights", "target_weights"):
            value = getattr(self, name)
            if value is not None and ((value <= 0).any() or not np.allclose(value.sum(1), 1.0)):
                raise DataError(f"coupling: {name} sum to {value.sum(1)}; expected positive weights that sum to 1")

    @property
    def uniform(self) -> bool:
        """Equal numbers of points, all of one weight: the minimum is a permutation."""
        return (
            self.source.shape == self.target.shape and self.source_weights is None and self.target_weights is None
        )

    def weights(self) -> tuple[F64, F64]:
        """((B, M), (B, N))"""
        b, m, n = len(self.source), self.source.shape[1], self.target.shape[1]
        u = np.full((b, m), 1.0 / m) if self.source_weights is None else self.source_weights
        v = np.full((b, n), 1.0 / n) if self.target_weights is None else self.target_weights
        return u, v


@dataclass(frozen=True)
class CouplingConfig:
    solver: str = "auto"
    alpha: float = 0.5  # weight of structure where a linear cost is given
    epsilon: float = 0.05  # proximal step of "proximal" and "batch"; smaller is sharper and more fragile
    max_iter: int = 100
    rounds: int = 1  # starts of "assignment"
    patience: float = 1.0  # of "assignment": moves without gain before it stops, in multiples of M
    rank: int = 8  # of "low_rank"
    device: str = "cpu"  # or "cuda", on which only POT's solvers run; "auto" takes "batch" there

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise ConfigError(f"there is no coupling solver '{self.solver}'; {name_hint(self.solver, SOLVERS)}")
        if not 0.0 <= self.alpha <= 1.0:
            raise ConfigError(f"coupling alpha is {self.alpha}; expected 0 (linear cost) to 1 (structure)")
        for name in ("epsilon", "max_iter", "rounds", "patience", "rank"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"coupling {name} is {getattr(self, name)}; expected more than 0")
        if self.device not in DEVICES:
            raise ConfigError(f"coupling device is '{self.device}'; {name_hint(self.device, DEVICES)}")
        if self.device == "cuda" and self.solver in _CPU_ONLY:
            raise ConfigError(
                f"coupling solver '{self.solver}' runs on the CPU only, but device is 'cuda'; take device 'cpu' or "
                f"one of these solvers: {', '.join(sorted(set(SOLVERS) - set(_CPU_ONLY)))}"
            )
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("coupling device is 'cuda', but torch finds no usable GPU; take device 'cpu'")


@dataclass(frozen=True)
class Fallback:
    """Problem `index` was solved by conditional gradient instead, because of `reason`."""

    index: int
    reason: str


@dataclass(frozen=True)
class Couplings:
    plans: F64  # (B, M, N)
    energies: F64  # (B,)
    solver: str  # that ran, after "auto" chose
    fallbacks: tuple[Fallback, ...] = ()


def couple(problems: Problems, config: CouplingConfig, seed: int = 0) -> Couplings:
    """Plans of all problems, each checked.

    Raises ConfigError where the solver cannot take such problems, DataError where the fallback's plan is broken
    too.
    """
    solver = _choose(problems, config)
    alpha = 1.0 if problems.linear is None else config.alpha
    plans = np.array(SOLVERS[solver](problems, config, seed), np.float64)
    u, v = problems.weights()
    # A semi-relaxed plan keeps the targets' weights and chooses the sources' itself.
    checked_u = None if solver == "semirelaxed" else u
    fallbacks = []
    for b in np.flatnonzero(~_sound(plans, checked_u, v)).tolist():
        reason = fault(plans[b], None if checked_u is None else checked_u[b], v[b])
        if reason:
            plans[b] = pot_solvers.conditional_gradient(_one(problems, b), config.alpha, "cpu", config.max_iter)[0]
            remaining = fault(plans[b], u[b], v[b])
            if remaining:
                raise DataError(
                    f"coupling {b}: solver '{solver}' gave a broken plan ({reason}), so did conditional gradient "
                    f"({remaining}); look at the distances of that problem"
                )
            fallbacks.append(Fallback(b, reason))
    return Couplings(plans, energies(problems, plans, alpha), solver, tuple(fallbacks))


def fault(plan: F64, source_weights: F64 | None, target_weights: F64) -> str:
    """What is wrong with a plan (M, N): not finite, negative, wrong mass or marginals; "" for a sound one."""
    if not np.isfinite(plan).all():
        return f"{int((~np.isfinite(plan)).sum())} of {plan.size} entries are not finite"
    if plan.min() < -1e-9:
        return f"smallest entry is {plan.min():.3g}, expected 0 or more"
    mass = float(plan.sum())
    if abs(mass - 1.0) > _MARGINAL_TOLERANCE:
        return f"mass is {mass:.3g}, expected 1"
    for name, found, expected in (
        ("source", plan.sum(1), source_weights),
        ("target", plan.sum(0), target_weights),
    ):
        if expected is not None:
            off = float(np.abs(found - expected).max() / expected.mean())
            if off > _MARGINAL_TOLERANCE:
                return f"{name} marginal is off by {off:.1%} of a point's weight"
    return ""


def _sound(plans: F64, u: F64 | None, v: F64) -> Bool:
    """`fault` over a whole batch (B, M, N) at once, which is most of a small problem's time otherwise. (B,)"""
    flat = plans.reshape(len(plans), -1)
    with np.errstate(invalid="ignore"):
        sound = flat.min(1) >= -1e-9
        sound &= np.abs(flat.sum(1) - 1.0) <= _MARGINAL_TOLERANCE
        for found, expected in (("bij->bi", u), ("bij->bj", v)):
            if expected is not None:
                off = np.abs(np.einsum(found, plans) - expected).max(1)
                sound &= off <= _MARGINAL_TOLERANCE * expected.mean(1)
    return sound


def energies(problems: Problems, plans: F64, alpha: float) -> F64:
    """Objective of each plan (B, M, N), in one formula for all solvers. (B,)"""
    A, B = problems.source, problems.target
    u, v = np.einsum("bij->bi", plans)[:, :, None], np.einsum("bij->bj", plans)[:, :, None]
    structure = (
        ((A * A) @ u * u).sum((1, 2)) + ((B * B) @ v * v).sum((1, 2)) - 2.0 * ((A @ plans @ B) * plans).sum((1, 2))
    )
    if problems.linear is None:
        return structure
    return alpha * structure + (1.0 - alpha) * (problems.linear * plans).sum((1, 2))


Solver = Callable[[Problems, CouplingConfig, int], F64]


def _choose(problems: Problems, config: CouplingConfig) -> str:
    if config.solver == "auto":
        if config.device == "cuda":
            return "batch"
        if not problems.uniform:
            return "conditional_gradient"
        return "enumeration" if problems.source.shape[1] <= MAX_POINTS else "assignment"
    if config.solver in ("enumeration", "assignment") and not problems.uniform:
        raise ConfigError(
            f"solver '{config.solver}' needs equal numbers of source and target points of equal weight, got "
            f"{problems.source.shape[1]} and {problems.target.shape[1]}; take 'conditional_gradient'"
        )
    if config.solver == "low_rank" and problems.linear is not None and config.alpha < 1.0:
        raise ConfigError("solver 'low_rank' takes no linear cost; set alpha to 1 or take another solver")
    return config.solver


def _one(problems: Problems, b: int) -> Problems:
    def pick(x: F64 | None) -> F64 | None:
        return None if x is None else x[b : b + 1]

    return Problems(
        problems.source[b : b + 1],
        problems.target[b : b + 1],
        pick(problems.linear),
        pick(problems.source_weights),
        pick(problems.target_weights),
    )


def _plans(permutation: np.ndarray) -> F64:
    b, m = permutation.shape
    plans = np.zeros((b, m, m))
    np.put_along_axis(plans, permutation[:, :, None].astype(np.int64), 1.0 / m, axis=2)
    return plans


def _enumeration(p: Problems, c: CouplingConfig, seed: int) -> F64:
    return _plans(best_permutations(p.source, p.target, p.linear, c.alpha)[0])


def _assignment(p: Problems, c: CouplingConfig, seed: int) -> F64:
    return _plans(search(p.source, p.target, p.linear, c.alpha, rounds=c.rounds, patience=c.patience, seed=seed)[0])


SOLVERS: dict[str, Solver] = {
    "auto": _assignment,  # never called under this name: `_choose` replaces it
    "enumeration": _enumeration,
    "assignment": _assignment,
    "conditional_gradient": lambda p, c, s: pot_solvers.conditional_gradient(p, c.alpha, c.device, c.max_iter),
    "proximal": lambda p, c, s: pot_solvers.proximal(p, c.alpha, c.epsilon, c.device, c.max_iter),
    "batch": lambda p, c, s: pot_solvers.batch(p, c.alpha, c.epsilon, c.device, c.max_iter),
    "semirelaxed": lambda p, c, s: pot_solvers.semirelaxed(p, c.alpha, c.device, c.max_iter),
    "low_rank": lambda p, c, s: pot_solvers.low_rank(p, c.rank, c.device, c.max_iter),
}
