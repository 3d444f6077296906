"""Every solver's plans are sound, and a broken plan never leaves `couple`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.pearl import coupling, pot_solvers
from sinew_policies.pearl.coupling import SOLVERS, CouplingConfig, Problems, couple, energies, fault

ANY_SHAPE = ("auto", "conditional_gradient", "proximal", "batch", "semirelaxed")


def _problems(seed: int, m: int, n: int, *, fused: bool, weighted: bool = False, b: int = 2) -> Problems:
    rng = np.random.default_rng(seed)

    def distances(k: int) -> np.ndarray:
        x = rng.normal(size=(b, k, 4))
        d = np.stack([cdist(p, p) for p in x])
        return d / d.mean()

    def weights(k: int) -> np.ndarray:
        w = rng.uniform(0.5, 1.5, (b, k))
        return w / w.sum(1, keepdims=True)

    return Problems(
        distances(m),
        distances(n),
        rng.random((b, m, n)) if fused else None,
        weights(m) if weighted else None,
        weights(n) if weighted else None,
    )


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    m=st.integers(2, 7),
    n=st.integers(2, 7),
    solver=st.sampled_from(ANY_SHAPE),
    fused=st.booleans(),
    weighted=st.booleans(),
)
def test_plans_have_their_marginals(seed: int, m: int, n: int, solver: str, fused: bool, weighted: bool) -> None:
    p = _problems(seed, m, n, fused=fused, weighted=weighted)
    found = couple(p, CouplingConfig(solver=solver, max_iter=50))
    u, v = p.weights()
    assert (found.plans >= -1e-9).all()
    np.testing.assert_allclose(found.plans.sum(1), v, atol=0.021 * v.mean())
    if solver != "semirelaxed":
        np.testing.assert_allclose(found.plans.sum(2), u, atol=0.021 * u.mean())


@pytest.mark.parametrize(
    ("solver", "fused"),
    [(s, f) for s in sorted(set(SOLVERS) - {"semirelaxed"}) for f in (False, True) if (s, f) != ("low_rank", True)],
)
def test_no_solver_beats_enumeration(solver: str, fused: bool) -> None:
    p = _problems(5, 4, 4, fused=fused, b=6)
    exact = couple(p, CouplingConfig(solver="enumeration")).energies
    found = couple(p, CouplingConfig(solver=solver)).energies
    assert (found >= exact - 1e-6).all()


def test_unconstrained_sources_allow_lower_energy() -> None:
    p = _problems(6, 10, 10, fused=False, b=6)
    free = couple(p, CouplingConfig(solver="semirelaxed")).energies
    bound = couple(p, CouplingConfig(solver="conditional_gradient")).energies
    assert free.mean() < bound.mean()


def test_auto_enumerates_searches_or_descends() -> None:
    sizes = {(4, 4): "enumeration", (9, 9): "assignment", (4, 5): "conditional_gradient"}
    for (m, n), solver in sizes.items():
        assert couple(_problems(1, m, n, fused=True), CouplingConfig()).solver == solver
    weighted = couple(_problems(1, 4, 4, fused=True, weighted=True), CouplingConfig())
    assert weighted.solver == "conditional_gradient"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda p: np.full_like(p, np.nan), "not finite"),
        (lambda p: p * 0.0, "mass is 0"),
        (lambda p: p - 2.0 * p * (np.arange(p.shape[-1]) == 0), "smallest entry"),
        (lambda p: np.roll(p, 1, axis=-1) * 0 + np.eye(p.shape[-1])[0] / p.shape[-1], "target marginal"),
    ],
)
def test_a_broken_plan_is_replaced_and_said_so(monkeypatch, broken, reason: str) -> None:
    p = _problems(7, 8, 8, fused=True, b=3)
    healthy = couple(p, CouplingConfig(solver="assignment")).plans

    def one_broken(problems, config, seed):
        plans = healthy.copy()
        plans[1] = broken(plans[1])
        return plans

    monkeypatch.setitem(coupling.SOLVERS, "proximal", one_broken)
    found = couple(p, CouplingConfig(solver="proximal"))
    assert [f.index for f in found.fallbacks] == [1]
    assert reason in found.fallbacks[0].reason
    np.testing.assert_array_equal(found.plans[[0, 2]], healthy[[0, 2]])
    gradient = couple(p, CouplingConfig(solver="conditional_gradient"))
    np.testing.assert_allclose(found.plans[1], gradient.plans[1])
    assert found.energies[1] == pytest.approx(gradient.energies[1])


def test_a_sharp_entropic_solver_really_breaks_and_is_caught() -> None:
    p = _problems(8, 4, 4, fused=True, b=16)
    found = couple(p, CouplingConfig(solver="batch", epsilon=1e-4))
    assert found.fallbacks
    for plan, u, v in zip(found.plans, *p.weights(), strict=True):
        assert fault(plan, u, v) == ""


def test_energy_is_the_sum_it_abbreviates() -> None:
    p = _problems(9, 3, 5, fused=True, b=1)
    plan = np.random.default_rng(0).random((1, 3, 5))
    a, t, line, T = p.source[0], p.target[0], p.linear[0], plan[0]
    structure = sum(
        (a[i, k] - t[j, q]) ** 2 * T[i, j] * T[k, q]
        for i in range(3)
        for j in range(5)
        for k in range(3)
        for q in range(5)
    )
    assert energies(p, plan, 0.3)[0] == pytest.approx(0.3 * structure + 0.7 * (line * T).sum())


def test_low_rank_keeps_its_rank_and_refuses_a_linear_cost() -> None:
    p = _problems(10, 12, 12, fused=False)
    found = couple(p, CouplingConfig(solver="low_rank", rank=3))
    assert not found.fallbacks
    for plan in found.plans:
        assert np.linalg.matrix_rank(plan, tol=1e-8) <= 3
    with pytest.raises(ConfigError, match=r"low_rank.*no linear cost"):
        couple(_problems(10, 6, 6, fused=True), CouplingConfig(solver="low_rank"))


@pytest.mark.parametrize(
    "solve",
    [
        lambda p, device: pot_solvers.conditional_gradient(p, 0.5, device, 100),
        lambda p, device: pot_solvers.proximal(p, 0.5, 0.05, device, 100),
        lambda p, device: pot_solvers.semirelaxed(p, 0.5, device, 100),
        lambda p, device: pot_solvers.low_rank(p, 2, device, 100),
    ],
)
def test_looped_solvers_run_on_torchs_device(solve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, in single precision, but with torch's CPU: as good as with NumPy's arrays."""
    p = _problems(11, 8, 8, fused=True, b=3)
    p.linear[:] += 5.0 * (1.0 - np.eye(8))  # one minimum, so that rounding leads to no other
    moved, as_tensor = [], torch.as_tensor
    monkeypatch.setattr(torch, "as_tensor", lambda x, **kw: moved.append(kw.get("device")) or as_tensor(x, **kw))
    on_numpy = energies(p, solve(p, "cpu"), 0.5)
    assert not moved
    plans = solve(p, "cpu:0")
    assert moved.count("cpu:0") >= 3 * 4  # at least two sets and two weights of each problem
    assert plans.dtype == np.float64
    np.testing.assert_allclose(plans.sum((1, 2)), 1.0, atol=1e-3)
    np.testing.assert_allclose(energies(p, plans, 0.5), on_numpy, rtol=0.02)


def test_the_device_reaches_every_solver_of_pot(monkeypatch: pytest.MonkeyPatch) -> None:
    p = _problems(11, 4, 4, fused=False)
    plan = couple(p, CouplingConfig(solver="enumeration")).plans
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for solver in ("batch", "conditional_gradient", "low_rank", "proximal", "semirelaxed"):
        asked: list[object] = []
        monkeypatch.setattr(pot_solvers, solver, lambda *given, asked=asked: asked.extend(given) or plan)
        couple(p, CouplingConfig(solver=solver, device="cuda"))
        assert "cuda" in asked
    assert couple(p, CouplingConfig(device="cuda")).solver == "batch"
    with pytest.raises(
        ConfigError, match=r"'assignment' runs on the CPU only.*batch, conditional_gradient, low_rank"
    ):
        CouplingConfig(solver="assignment", device="cuda")


def test_a_missing_gpu_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device is 'cuda', but torch finds no usable GPU; take device 'cpu'"):
        CouplingConfig(solver="batch", device="cuda")
    with pytest.raises(ConfigError, match=r"coupling device is 'gpu'.*valid names: cpu, cuda"):
        CouplingConfig(device="gpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("solver", ["batch", "conditional_gradient", "proximal", "semirelaxed", "low_rank"])
def test_gpu_plans_are_as_good(solver: str) -> None:
    p = _problems(11, 12, 12, fused=solver != "low_rank", b=4)
    on_cpu = couple(p, CouplingConfig(solver=solver)).energies
    on_gpu = couple(p, CouplingConfig(solver=solver, device="cuda")).energies
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0.05)


def test_bad_problems_are_refused() -> None:
    good = _problems(12, 4, 4, fused=True)
    with pytest.raises(DataError, match="source is not finite"):
        Problems(np.full((1, 3, 3), np.nan), np.zeros((1, 3, 3)))
    with pytest.raises(DataError, match=r"linear has shape \(2, 4, 3\).*expected \(2, 4, 4\)"):
        Problems(good.source, good.target, good.linear[:, :, :3])
    with pytest.raises(DataError, match="not symmetric"):
        Problems(np.triu(np.ones((1, 3, 3))), np.zeros((1, 3, 3)))
    with pytest.raises(DataError, match="sum to 1"):
        Problems(good.source, good.target, None, np.ones((2, 4)))
    with pytest.raises(ConfigError, match="did you mean 'assignment'"):
        CouplingConfig(solver="asignment")
    with pytest.raises(ConfigError, match=r"alpha is 1\.5"):
        CouplingConfig(alpha=1.5)
    with pytest.raises(ConfigError, match="needs equal numbers"):
        couple(_problems(1, 4, 5, fused=True), CouplingConfig(solver="assignment"))
