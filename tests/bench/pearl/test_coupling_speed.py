"""The bench's own claims on a few problems, with room for a busy machine."""

import numpy as np
from bench.pearl.coupling_speed import batch, conditional_gradient, measure, ours, problems

from sinew_policies.pearl.coupling import CouplingConfig


def test_enumeration_is_never_worse_and_much_faster_than_conditional_gradient() -> None:
    p = problems(4, 256, np.random.default_rng(1))
    ms, energy = measure(p, {"ours": ours(CouplingConfig()), "POT": conditional_gradient}, rounds=1)
    assert (energy["ours"] <= energy["POT"] + 1e-9).all()
    assert ms["POT"][0] > 20 * ms["ours"][0]


def test_search_reaches_the_proximal_solvers_energy_sooner() -> None:
    p = problems(64, 2, np.random.default_rng(2))
    ms, energy = measure(
        p, {"ours": ours(CouplingConfig(patience=4.0, rounds=2)), "POT": batch(0.01, at_once=False)}, rounds=1
    )
    assert energy["ours"].mean() <= energy["POT"].mean()
    assert ms["POT"][0] > 1.5 * ms["ours"][0]
