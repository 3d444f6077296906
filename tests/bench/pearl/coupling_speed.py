"""Couplings a second and their energies, ours against POT's solvers on the same problems in one process.

python tests/bench/pearl/coupling_speed.py [--seed N] [--json FILE]

4x4: all permutations of a batch against POT's conditional gradient in a loop. 64x64: the permutation search against
POT's batch solver in a loop, one problem a call, with its default step and with the larger one that reaches lower
energy, and in one call. CPU time of one thread, so that other processes on the machine disturb both alike; solvers
take turns within a round. Energies of all plans come from one formula.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from ot.batch import solve_gromov_batch
from ot.gromov import gromov_wasserstein
from scipy.spatial.distance import cdist

from sinew_policies.common.report import Metric, Report, percentile
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.pearl.coupling import CouplingConfig, Problems, couple, energies

SMALL, LARGE = 4, 64
N_SMALL, N_LARGE = 1024, 8
ROUNDS = 5
_LEAST_S = 0.05  # of work behind a timing
OURS, PATIENT = "ours", "ours, patience 4, 2 starts"
Solver = Callable[[Problems], F64]


def problems(m: int, count: int, rng: np.random.Generator) -> Problems:
    """Distances, mean 1, within clouds of M points that spread differently along 6 axes."""

    def distances() -> F64:
        x = rng.normal(size=(m, 6)) * rng.uniform(0.2, 1.0, 6)
        d = cdist(x, x)
        return d / d[~np.eye(m, dtype=bool)].mean()

    return Problems(np.stack([distances() for _ in range(count)]), np.stack([distances() for _ in range(count)]))


def ours(config: CouplingConfig) -> Solver:
    return lambda p: couple(p, config).plans


def conditional_gradient(p: Problems) -> F64:
    return np.stack([gromov_wasserstein(a, b, symmetric=True) for a, b in zip(p.source, p.target, strict=True)])


def batch(reg: float, at_once: bool) -> Solver:
    def solve(p: Problems) -> F64:
        step = len(p.source) if at_once else 1
        plans = [
            solve_gromov_batch(
                torch.from_numpy(p.source[k : k + step]).float(),
                torch.from_numpy(p.target[k : k + step]).float(),
                reg=reg,
                symmetric=True,
            ).plan
            for k in range(0, len(p.source), step)
        ]
        return torch.cat(plans).numpy().astype(np.float64)

    return solve


def measure(p: Problems, solvers: Mapping[str, Solver], rounds: int) -> tuple[dict[str, F64], dict[str, F64]]:
    """(CPU milliseconds per problem, (rounds,); energies, (problems,)) of each solver."""
    found = {name: energies(p, solve(p), 1.0) for name, solve in solvers.items()}  # compiles and warms up, too
    spent: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(rounds):
        for name, solve in solvers.items():
            calls, begun = 0, time.thread_time()
            while time.thread_time() - begun < _LEAST_S:
                solve(p)
                calls += 1
            spent[name].append((time.thread_time() - begun) / (calls * len(p.source)) * 1e3)
    return {name: np.array(ms) for name, ms in spent.items()}, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    rng = stream(args.seed, "coupling bench")
    metrics: dict[str, Metric] = {}
    rows = []
    for m, count, solvers in (
        (SMALL, N_SMALL, {OURS: ours(CouplingConfig()), "POT conditional gradient, looped": conditional_gradient}),
        (
            LARGE,
            N_LARGE,
            {
                OURS: ours(CouplingConfig()),
                PATIENT: ours(CouplingConfig(patience=4.0, rounds=2)),
                "POT batch, looped, reg 0.01": batch(0.01, at_once=False),
                "POT batch, looped, reg 0.05": batch(0.05, at_once=False),
                "POT batch, one call, reg 0.05": batch(0.05, at_once=True),
                "POT conditional gradient, looped": conditional_gradient,
            },
        ),
    ):
        p = problems(m, count, rng)
        ms, energy = measure(p, solvers, args.rounds)
        print(f"{m}x{m}, {count} problems")
        for name in solvers:
            print(f"  {name:34s} {np.median(ms[name]):10.4f} ms a problem   energy {energy[name].mean():.5f}")
            rows.append(
                {"size": m, "solver": name, "ms": float(np.median(ms[name])), "energy": energy[name].mean()}
            )
        # Against whatever of POT's comes next to our energy.
        own = OURS if m == SMALL else PATIENT
        rivals = [n for n in solvers if n.startswith("POT") and "one call" not in n]
        rival = (
            rivals[0] if m == SMALL else min((n for n in rivals if "batch" in n), key=lambda n: energy[n].mean())
        )
        speedup = percentile(ms[rival] / ms[own], 50, unit="times")
        not_higher = float((energy[own] <= energy[rival] + 1e-6).mean())
        metrics[f"speedup_{m}x{m}"] = speedup
        metrics[f"energy_ratio_{m}x{m}"] = percentile(
            energy[own] / np.maximum(energy[rival], 1e-12), 50, unit="ratio"
        )
        print(
            f"  {own} is {speedup.value:.1f} times faster than {rival} ({speedup.low:.1f} to {speedup.high:.1f}), "
            f"energy equal or lower on {not_higher:.0%} of the problems"
        )
    if args.json is not None:
        command = f"tests/bench/pearl/coupling_speed.py --seed {args.seed} --rounds {args.rounds}"
        Report(command, args.seed, time.perf_counter() - begun, metrics, rows).write(args.json)


if __name__ == "__main__":
    main()
