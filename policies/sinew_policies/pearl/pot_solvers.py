"""POT's Gromov-Wasserstein solvers on stacked problems. Plans come back as they are: `coupling` checks them.

POT is imported on first use, so that reading labels needs no extra. Its other solvers than `batch` take one
problem at a time and are looped over.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Protocol

import numpy as np
import torch

from sinew_policies.common.errors import MissingExtra
from sinew_policies.common.types import F64

_INNER_ITERATIONS = 50


class Stacked(Protocol):
    """The part of `coupling.Problems` that solvers read."""

    @property
    def source(self) -> F64: ...
    @property
    def target(self) -> F64: ...
    @property
    def linear(self) -> F64 | None: ...
    def weights(self) -> tuple[F64, F64]: ...


def conditional_gradient(problems: Stacked, alpha: float, device: str, max_iter: int) -> F64:
    """Frank-Wolfe with exact line search: quick, ends in local minima. (B, M, N)"""
    gw = _gromov()

    def solve(A, B, L, u, v):  # type: ignore[no-untyped-def]
        if L is None:
            return gw.gromov_wasserstein(A, B, u, v, symmetric=True, max_iter=max_iter)
        return gw.fused_gromov_wasserstein(L, A, B, u, v, symmetric=True, alpha=alpha, max_iter=max_iter)

    return _loop(problems, solve, device)


def proximal(problems: Stacked, alpha: float, epsilon: float, device: str, max_iter: int) -> F64:
    """Proximal point algorithm: entropic steps of size `epsilon` around the last plan. (B, M, N)"""
    gw = _gromov()

    def solve(A, B, L, u, v):  # type: ignore[no-untyped-def]
        shared = {
            "epsilon": epsilon,
            "symmetric": True,
            "solver": "PPA",
            "max_iter": max_iter,
            "numItermax": _INNER_ITERATIONS,
            "warn": False,
        }
        if L is None:
            return gw.entropic_gromov_wasserstein(A, B, u, v, **shared)
        return gw.entropic_fused_gromov_wasserstein(L, A, B, u, v, alpha=alpha, **shared)

    return _loop(problems, solve, device)


def semirelaxed(problems: Stacked, alpha: float, device: str, max_iter: int) -> F64:
    """Targets keep their weights, sources may go unused: for a source with behaviour the target lacks. (B, M, N)"""
    gw = _gromov()

    def solve(A, B, L, u, v):  # type: ignore[no-untyped-def]
        # POT keeps the first marginal, so the roles are exchanged and the plan is transposed.
        if L is None:
            return gw.semirelaxed_gromov_wasserstein(B, A, v, symmetric=True, max_iter=max_iter).T
        return gw.semirelaxed_fused_gromov_wasserstein(
            L.T, B, A, v, symmetric=True, alpha=alpha, max_iter=max_iter
        ).T

    return _loop(problems, solve, device)


def batch(problems: Stacked, alpha: float, epsilon: float, device: str, max_iter: int) -> F64:
    """All problems at once in torch, log-domain proximal steps; the one to take on a GPU. (B, M, N)"""
    try:
        from ot.batch import solve_gromov_batch
    except ModuleNotFoundError as error:
        raise MissingExtra("pot", "learning") from error
    dtype = torch.float64 if device == "cpu" else torch.float32

    def tensor(x: F64) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(x), dtype=dtype, device=device)

    u, v = problems.weights()
    fused = {} if problems.linear is None else {"M": tensor(problems.linear), "alpha": alpha}
    found = solve_gromov_batch(
        tensor(problems.source),
        tensor(problems.target),
        reg=epsilon,
        a=tensor(u),
        b=tensor(v),
        symmetric=True,
        max_iter=max_iter,
        max_iter_inner=_INNER_ITERATIONS,
        grad="detach",
        **fused,
    )
    return found.plan.cpu().numpy().astype(np.float64)


def low_rank(problems: Stacked, rank: int, device: str, max_iter: int) -> F64:
    """Plans of low rank, for problems too large for the others (Scetbon 2021). (B, M, N)

    POT's solver takes points with squared Euclidean cost. A Euclidean distance is one, in coordinates found by
    classical scaling (Schoenberg), so the objective stays that of the other solvers. Poor energies, even so.
    """
    gw = _gromov()
    rank = min(rank, problems.source.shape[1], problems.target.shape[1])

    def solve(X, Y, L, u, v):  # type: ignore[no-untyped-def]
        Q, R, g = gw.lowrank_gromov_wasserstein_samples(X, Y, u, v, rank=rank, numItermax=max_iter, warn=False)
        return Q / g @ R.T

    return _loop(problems, solve, device, of_distances=_embed)


def _embed(distances: F64) -> F64:
    """Points (M, D) whose squared distances are the given ones (M, M)."""
    m = len(distances)
    centre = np.eye(m) - 1.0 / m
    value, vector = np.linalg.eigh(-0.5 * centre @ distances @ centre)
    kept = value > 1e-9 * max(value.max(), 1e-12)
    return vector[:, kept] * np.sqrt(value[kept])


def _gromov() -> ModuleType:
    try:
        from ot import gromov
    except ModuleNotFoundError as error:
        raise MissingExtra("pot", "learning") from error
    return gromov


def _loop(
    problems: Stacked,
    solve: Callable,
    device: str,
    of_distances: Callable[[F64], F64] = lambda distances: distances,
) -> F64:
    u, v = problems.weights()
    plans = []
    for b in range(len(problems.source)):
        linear = None if problems.linear is None else problems.linear[b]
        given = (of_distances(problems.source[b]), of_distances(problems.target[b]), linear, u[b], v[b])
        if device == "cpu":
            plans.append(np.asarray(solve(*given)))
        else:
            moved = (None if x is None else torch.as_tensor(x, dtype=torch.float32, device=device) for x in given)
            plans.append(solve(*moved).cpu().numpy().astype(np.float64))
    return np.stack(plans)
