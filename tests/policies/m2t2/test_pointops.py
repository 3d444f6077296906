"""The compiled point operations choose exactly what the plain torch rules choose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sinew_policies.common.errors import CloudError
from sinew_policies.common.seeds import stream
from sinew_policies.m2t2.pointops import ball_query, furthest_point_sample, reference, three_nn

KINDS = ("uniform", "table", "lattice", "duplicates", "clusters", "line", "far", "one place", "sorted")


def cloud(kind: str, n: int, seed: int) -> Tensor:
    """(1, n, 3) float32 clouds that provoke ties, empty cells, crowded cells and single-axis extents."""
    g = stream(seed, "cloud", kind)
    if kind == "uniform":
        xyz = g.uniform(-0.3, 0.3, (n, 3))
    elif kind == "table":
        xyz = np.c_[g.uniform(-0.3, 0.3, (n, 2)), np.abs(g.normal(0, 0.001, n))]
    elif kind == "lattice":  # distances repeat exactly
        xyz = g.integers(-4, 5, (n, 3)) * 0.03125
    elif kind == "duplicates":
        xyz = g.normal(size=(max(1, n // 7), 3))[g.integers(0, max(1, n // 7), n)] * 0.1
    elif kind == "clusters":
        xyz = g.normal(size=(4, 3))[g.integers(0, 4, n)] * 3 + g.normal(size=(n, 3)) * 1e-3
    elif kind == "line":
        xyz = np.outer(g.uniform(-1, 1, n), [0.0, 0.2, 0.0])
    elif kind == "far":  # beyond the initial distance of 1e10, and where float32 is coarse
        xyz = g.normal(size=(n, 3)) * 1e6
    elif kind == "one place":
        xyz = np.full((n, 3), 0.25)
    else:
        xyz = np.c_[np.linspace(-0.2, 0.2, n), g.uniform(-0.2, 0.2, n), np.zeros(n)]
    return torch.tensor(xyz, dtype=torch.float32)[None]


clouds = st.builds(cloud, st.sampled_from(KINDS), st.integers(1, 300), st.integers(0, 10_000))


@settings(max_examples=100, deadline=None)
@given(clouds, st.integers(1, 320), st.booleans())
def test_sample_equals_the_plain_loop(xyz: Tensor, n: int, exclude: bool) -> None:
    expected = reference.furthest_point_sample(xyz, n, exclude)
    assert torch.equal(furthest_point_sample(xyz, n, exclude), expected)


@settings(max_examples=100, deadline=None)
@given(clouds, clouds, st.sampled_from([0.004, 0.03125, 0.1, 0.5, 5.0, 1e7]), st.integers(1, 70))
def test_ball_query_equals_the_plain_rule(xyz: Tensor, centres: Tensor, radius: float, k: int) -> None:
    for at in (centres, xyz):
        assert torch.equal(ball_query(xyz, at, radius, k), reference.ball_query(xyz, at, radius, k))


@settings(max_examples=100, deadline=None)
@given(clouds, clouds)
def test_three_nearest_equal_the_sorted_matrix(query: Tensor, ref: Tensor) -> None:
    for q in (query, ref):
        d2, index = three_nn(q, ref)
        expected_d2, expected_index = reference.three_nn(q, ref)
        assert torch.equal(index, expected_index)
        assert torch.equal(d2, expected_d2)


@pytest.mark.parametrize("kind", ["uniform", "table", "clusters", "lattice", "sorted"])
def test_equal_at_working_size(kind: str) -> None:
    xyz = cloud(kind, 6000, seed=3)
    index = furthest_point_sample(xyz, 1500, exclude_origin=True)
    assert torch.equal(index, reference.furthest_point_sample(xyz, 1500, True))
    centres = xyz[:, index[0]]
    for radius, k in ((0.01, 16), (0.05, 32), (0.2, 64)):
        assert torch.equal(ball_query(xyz, centres, radius, k), reference.ball_query(xyz, centres, radius, k))
    for a, b in zip(three_nn(xyz, centres), reference.three_nn(xyz, centres), strict=True):
        assert torch.equal(a, b)


def test_sample_rules_on_paper() -> None:
    # Index 0 first although it is the origin; then 3 (furthest), then the tie of 1 and 2 goes to 1.
    xyz = torch.tensor([[[0.0, 0, 0], [0, 1, 0], [0, -1, 0], [2, 0, 0], [0.01, 0, 0]]])
    assert furthest_point_sample(xyz, 4, exclude_origin=True).tolist() == [[0, 3, 1, 2]]
    # 3.16 cm around the origin is excluded, so the fifth choice repeats the lowest eligible index, not 4.
    assert furthest_point_sample(xyz, 5, exclude_origin=True).tolist() == [[0, 3, 1, 2, 1]]
    assert furthest_point_sample(xyz, 5, exclude_origin=False).tolist() == [[0, 3, 1, 2, 4]]
    near = torch.full((1, 9, 3), 0.01)
    assert furthest_point_sample(near, 4, exclude_origin=True).tolist() == [[0, 0, 0, 0]]


def test_ball_rules_on_paper() -> None:
    xyz = torch.tensor([[[9.0, 0, 0], [0.5, 0, 0], [1, 0, 0], [0.25, 0, 0]]])
    centres = torch.tensor([[[0.0, 0, 0], [-5, 0, 0], [9, 0, 0]]])
    # 1 is exactly on the sphere and outside; hits come by index, not by distance.
    assert ball_query(xyz, centres, 1.0, 4).tolist() == [[[1, 3, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]]
    assert ball_query(xyz, centres, 1.0, 1).tolist() == [[[1], [0], [0]]]


def test_three_nearest_rules_on_paper() -> None:
    ref = torch.tensor([[[2.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]])
    d2, index = three_nn(torch.zeros(1, 1, 3), ref)
    assert index.tolist() == [[[1, 2, 3]]]
    assert d2.tolist() == [[[1.0, 1.0, 1.0]]]
    d2, index = three_nn(torch.zeros(1, 1, 3), ref[:, :2])
    assert index.tolist() == [[[1, 0, 0]]]
    assert d2.tolist() == [[[1.0, 4.0, float("inf")]]]


def test_batches_are_independent_clouds() -> None:
    xyz = torch.cat([cloud("uniform", 200, s) for s in range(3)])
    index = furthest_point_sample(xyz, 50)
    balls = ball_query(xyz, xyz[:, :40], 0.1, 8)
    for b in range(3):
        one = xyz[b : b + 1]
        assert torch.equal(index[b : b + 1], furthest_point_sample(one, 50))
        assert torch.equal(balls[b : b + 1], ball_query(one, one[:, :40], 0.1, 8))
    assert index.dtype == balls.dtype == torch.int64


def test_strided_input_gives_the_same() -> None:
    xyz = cloud("uniform", 400, 1)
    strided = torch.cat([xyz, xyz], dim=-1)[..., :3]
    assert not strided.is_contiguous()
    assert torch.equal(furthest_point_sample(strided, 64), furthest_point_sample(xyz, 64))
    assert torch.equal(ball_query(strided, strided, 0.1, 8), ball_query(xyz, xyz, 0.1, 8))


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (torch.zeros(5, 3), "shape (5, 3), expected (B, N, 3)"),
        (torch.zeros(1, 0, 3), "expected (B, N, 3) with B, N >= 1"),
        (torch.zeros(1, 5, 3, dtype=torch.float64), "torch.float64, expected torch.float32"),
        (torch.full((1, 5, 3), float("nan")), "5 points with NaN or infinite"),
    ],
)
def test_unusable_clouds_are_named(points: Tensor, words: str) -> None:
    good = torch.zeros(1, 4, 3)
    for call in (
        lambda: furthest_point_sample(points, 2),
        lambda: ball_query(points, good, 0.1, 4),
        lambda: ball_query(good, points, 0.1, 4),
        lambda: three_nn(points, good),
        lambda: three_nn(good, points),
    ):
        with pytest.raises(CloudError) as e:
            call()
        assert words in str(e.value)


def test_unusable_numbers_are_named() -> None:
    good = torch.zeros(1, 4, 3)
    with pytest.raises(CloudError, match="n = 0, expected at least 1"):
        furthest_point_sample(good, 0)
    with pytest.raises(CloudError, match="radius = -1"):
        ball_query(good, good, -1.0, 4)
    with pytest.raises(CloudError, match="ref has batch 1 on cpu, expected batch 2"):
        three_nn(torch.zeros(2, 4, 3), good)


def test_million_points() -> None:
    xyz = cloud("table", 1_000_000, 5)
    index = furthest_point_sample(xyz, 64)
    assert index.unique().numel() == 64
    hits = ball_query(xyz, xyz[:, :64], 0.002, 16)[0]
    d2 = ((xyz[0][hits] - xyz[0, :64, None]) ** 2).sum(-1)
    assert float(d2.max()) < 0.002**2 * 1.0001
    assert bool((hits <= torch.arange(64)[:, None]).any(dim=1).all())  # the centre itself bounds the first hit


@pytest.mark.slow
def test_works_where_no_folder_is_writable(tmp_path: Path) -> None:
    """A read-only installation without a home compiles in memory."""
    package = Path(reference.__file__).parents[2]
    copy = tmp_path / "site" / "sinew_policies"
    for source in package.rglob("*.py"):
        target = copy / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for folder in [tmp_path / "site", *(tmp_path / "site").rglob("*")]:
        if folder.is_dir():
            (folder / "__pycache__").write_text(
                ""
            )  # a file in its place: no cache folder can be made, even by root
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    code = (
        "import json, torch\n"
        "import sinew_policies.m2t2.pointops as p\n"
        "x = torch.arange(300.).reshape(1, 100, 3)\n"
        "print(json.dumps([p.__file__, p.furthest_point_sample(x, 3).tolist()]))\n"
    )
    keep = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=keep
        | {
            "PYTHONPATH": str(tmp_path / "site"),
            "HOME": str(blocked),
            "XDG_CACHE_HOME": str(blocked),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    file, index = json.loads(run.stdout)
    assert file.startswith(str(tmp_path))
    assert index == [[0, 99, 49]]
