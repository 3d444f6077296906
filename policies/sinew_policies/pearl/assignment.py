"""Gromov-Wasserstein between sets of equal size and weight, searched over permutations.

The minimum is a permutation (see `enumeration`), so this is a quadratic assignment problem, and exchanging two
targets is its natural move: with the effect of every exchange held in a table, one move costs O(M^2) (Taillard
1991, robust taboo search). Finds lower energies than proximal descent in a fraction of its time.
"""

import numpy as np

from sinew_policies.common.jit import kernel
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64, I32


def search(
    source: F64,
    target: F64,
    linear: F64 | None = None,
    alpha: float = 1.0,
    *,
    rounds: int = 8,
    patience: float = 4.0,
    seed: int = 0,
) -> tuple[I32, F64]:
    """A low-energy permutation of each of B problems, in the notation and units of `enumeration`.

    Starts from the points ranked by mean distance, then from random orders: `rounds` starts in all. Each is
    followed by descent and a taboo search, which ends after `patience` * M moves without gain.

    Returns (permutation (B, M), energy (B,)).
    """
    b, m, _ = source.shape
    A = np.ascontiguousarray(source, np.float64)
    B = np.ascontiguousarray(target, np.float64)
    structure = 1.0 if linear is None else alpha
    cost = np.zeros((b, m, m)) if linear is None else np.ascontiguousarray(linear, np.float64)
    rng = stream(seed, "assignment")
    starts = np.empty((b, rounds, m), np.int32)
    for k in range(rounds):
        starts[:, k] = _ranked(A, B) if k == 0 else rng.permuted(np.tile(np.arange(m), (b, 1)), axis=1)
    permutation, energy = _search(
        A, B, cost, structure, starts, rng.random((b, rounds, max(1, round(patience * m))))
    )
    return permutation, energy


def _ranked(A: F64, B: F64) -> I32:
    """Peripheral points to peripheral points: (B, M)."""
    rank_a, rank_b = np.argsort(A.sum(2), axis=1), np.argsort(B.sum(2), axis=1)
    out = np.empty(rank_a.shape, np.int32)
    np.put_along_axis(out, rank_a, rank_b.astype(np.int32), axis=1)
    return out


@kernel
def _energy(a, t, l, s, scale, weight):  # type: ignore[no-untyped-def]
    m = len(s)
    structure = 0.0
    line = 0.0
    for i in range(m):
        line += l[i, s[i]]
        for k in range(m):
            d = a[i, k] - t[s[i], s[k]]
            structure += d * d
    return scale * structure + weight * line


@kernel
def _exchange(a, t, l, s, i, k, scale, weight):  # type: ignore[no-untyped-def]
    """Change of energy when i and k exchange their targets; needs symmetric distances."""
    si, sk = s[i], s[k]
    cross = 0.0
    for q in range(len(s)):
        cross += (a[i, q] - a[k, q]) * (t[sk, s[q]] - t[si, s[q]])
    # The sum includes q = i and q = k, whose share the exchange leaves alone but for the diagonals.
    cross -= (a[i, i] - a[k, i]) * (t[sk, si] - t[si, si]) + (a[i, k] - a[k, k]) * (t[sk, sk] - t[si, sk])
    own = (a[i, i] - a[k, k]) * (t[sk, sk] - t[si, si])
    line = l[i, sk] + l[k, si] - l[i, si] - l[k, sk]
    return -scale * (4.0 * cross + 2.0 * own) + weight * line


@kernel
def _search(A, B, L, alpha, starts, noise):  # type: ignore[no-untyped-def]
    n, m = A.shape[0], A.shape[1]
    rounds, moves = starts.shape[1], noise.shape[2]
    found = np.zeros((n, m), np.int32)
    found_energy = np.full(n, np.inf)
    delta = np.zeros((m, m))
    taboo = np.zeros((m, m), np.int64)
    s = np.zeros(m, np.int64)
    scale, weight = alpha / (m * m), (1.0 - alpha) / m
    for b in range(n):
        a, t, l = A[b], B[b], L[b]
        for r in range(rounds):
            for i in range(m):
                s[i] = starts[b, r, i]
            energy = _energy(a, t, l, s, scale, weight)
            best = energy
            taboo[:] = 0
            for i in range(m):
                for k in range(i):
                    delta[i, k] = _exchange(a, t, l, s, i, k, scale, weight)
            if best < found_energy[b]:
                found_energy[b] = best
                found[b] = s
            calm = 0
            step = 0
            while calm < moves:
                step += 1
                gain = np.inf
                u, v = -1, -1
                for i in range(m):
                    for k in range(i):
                        d = delta[i, k]
                        if d >= gain:
                            continue
                        forbidden = taboo[i, s[k]] > step and taboo[k, s[i]] > step
                        if forbidden and energy + d >= best - 1e-12:
                            continue
                        gain, u, v = d, i, k
                if u < 0:
                    break
                length = int((0.9 + 0.2 * noise[b, r, step % moves]) * m)
                taboo[u, s[u]] = step + length
                taboo[v, s[v]] = step + length
                s[u], s[v] = s[v], s[u]
                energy += gain
                if energy < best - 1e-12:
                    best = energy
                    calm = 0
                    if best < found_energy[b]:
                        found_energy[b] = best
                        for i in range(m):
                            found[b, i] = s[i]
                else:
                    calm += 1
                for i in range(m):
                    for k in range(i):
                        if i in (u, v) or k in (u, v):
                            delta[i, k] = _exchange(a, t, l, s, i, k, scale, weight)
                        else:
                            delta[i, k] += (
                                -4.0
                                * scale
                                * (a[i, u] - a[i, v] + a[k, v] - a[k, u])
                                * (t[s[k], s[u]] - t[s[k], s[v]] + t[s[i], s[v]] - t[s[i], s[u]])
                            )
        for i in range(m):
            s[i] = found[b, i]
        found_energy[b] = _energy(a, t, l, s, scale, weight)
    return found, found_energy
