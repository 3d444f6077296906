"""Point operations at the published sizes beside plain torch, and whether both choose the same."""

import torch
from bench.timing import Timed, timed

from sinew_policies.m2t2.pointops import ball_query, furthest_point_sample, reference, three_nn

GROUP = "points"
N, CENTRES = 16384, 4096
BALLS = ((0.02, 32), (0.05, 16), (0.05, 64), (0.10, 32))


def run(xyz: torch.Tensor, *, repeats: int, torch_repeats: int) -> list[Timed]:
    """xyz (1, 16384, 3), centred. Raises AssertionError where an index differs."""
    out: list[Timed] = []
    sample = furthest_point_sample(xyz, CENTRES, exclude_origin=True)
    centres = xyz[:, sample[0]]

    def both(name: str, limit_ms: float | None, fast, plain) -> None:  # type: ignore[no-untyped-def]
        for a, b in zip(_tuple(fast()), _tuple(plain()), strict=True):
            assert torch.equal(a, b), f"{name}: differs from plain torch"
        out.append(timed(GROUP, name, fast, repeats=repeats, limit_ms=limit_ms))
        out.append(timed(f"{GROUP}, torch", name, plain, repeats=torch_repeats))

    for n, limit_ms in ((4096, 12.0), (1024, None)):
        both(
            f"furthest point {N} to {n}",
            limit_ms,
            lambda n=n: furthest_point_sample(xyz, n, True),
            lambda n=n: reference.furthest_point_sample(xyz, n, True),
        )
    for radius, k in BALLS:
        both(
            f"ball query {CENTRES}, r {radius * 100:.0f} cm, first {k}",
            25.0,
            lambda r=radius, k=k: ball_query(xyz, centres, r, k),
            lambda r=radius, k=k: reference.ball_query(xyz, centres, r, k),
        )
    both(
        f"three nearest {N} of {CENTRES}",
        20.0,
        lambda: three_nn(xyz, centres),
        lambda: reference.three_nn(xyz, centres),
    )
    return out


def _tuple(found: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)
