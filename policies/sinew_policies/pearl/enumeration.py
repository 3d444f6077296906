"""Gromov-Wasserstein between sets of equal size and weight, solved exactly by trying every permutation.

Euclidean distance matrices are conditionally negative definite, so the relaxed problem is concave and one of its
minima is a permutation: up to MAX_POINTS points, trying them all is exact and quicker than any descent. It is the
oracle that the other solvers are tested against.

Energy of a permutation s over M points, weight `alpha` on structure (fused Gromov-Wasserstein, arXiv 1811.02834):
    alpha / M^2 * sum_ik (A[i, k] - B[s(i), s(k)])^2 + (1 - alpha) / M * sum_i L[i, s(i)]
"""

from functools import cache
from itertools import permutations

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_policies.common.jit import kernel
from sinew_policies.common.types import F64, I32

MAX_POINTS = 6


def best_permutations(
    source: F64, target: F64, linear: F64 | None = None, alpha: float = 1.0
) -> tuple[I32, F64, F64]:
    """The best permutation of each of B problems: source (B, M, M) and target (B, M, M) symmetric distances,
    linear (B, M, M) cost of sending source i to target j.

    Returns (permutation (B, M): target of each source, energy (B,), energy of the best other permutation (B,)).
    A second energy close to the first says that another coupling explains the data as well. For M = 1 there is
    no other: infinity.

    Raises DataError for more than MAX_POINTS points or sets of different size.
    """
    b, m, _ = source.shape
    if m > MAX_POINTS or target.shape != source.shape:
        raise DataError(
            f"enumeration of {m} source and {target.shape[1]} target points; expected equal sizes of at most "
            f"{MAX_POINTS}; take solver 'assignment' for equal and 'conditional_gradient' for unequal sizes"
        )
    cost = np.zeros((b, m, m)) if linear is None else np.ascontiguousarray(linear, np.float64)
    best, energy, second = _best(
        np.ascontiguousarray(source, np.float64),
        np.ascontiguousarray(target, np.float64),
        cost,
        1.0 if linear is None else alpha,
        _permutations(m),
    )
    return _permutations(m)[best].astype(np.int32), energy, second


@cache
def _permutations(m: int) -> np.ndarray:
    return np.array(list(permutations(range(m))), np.int8)  # (m!, m)


@kernel
def _best(A, B, L, alpha, table):  # type: ignore[no-untyped-def]
    n, m = A.shape[0], A.shape[1]
    best = np.zeros(n, np.int64)
    energy = np.full(n, np.inf)
    second = np.full(n, np.inf)
    for b in range(n):
        for p in range(len(table)):
            structure = 0.0
            line = 0.0
            for i in range(m):
                si = table[p, i]
                line += L[b, i, si]
                own = A[b, i, i] - B[b, si, si]
                structure += 0.5 * own * own
                for k in range(i):
                    d = A[b, i, k] - B[b, si, table[p, k]]
                    structure += d * d
            e = alpha * 2.0 * structure / (m * m) + (1.0 - alpha) * line / m
            if e < energy[b]:
                second[b] = energy[b]
                energy[b] = e
                best[b] = p
            elif e < second[b]:
                second[b] = e
    return best, energy, second
