"""Expansion's limits are the nearest vector and the mean; the support set keeps its bound."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.expansion import build_support_set, expand, load_support_set, save_support_set
from sinew_policies.psl.goal_views import unit_vectors


def clustered(n: int, width: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(8, width))
    return (centres[draw.integers(0, 8, n)] + 0.4 * draw.normal(size=(n, width))).astype(np.float32)


def naive_greedy(vectors: np.ndarray, bound: float) -> list[int]:
    unit, kept = unit_vectors(vectors, "x").astype(np.float32), []
    for i, v in enumerate(unit):
        if all(v @ unit[j] < bound for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_greedy_construction_equals_the_plain_loop_whatever_the_chunks(pieces: int) -> None:
    vectors = clustered(200, 16)
    expected = vectors[naive_greedy(vectors, 0.8)].astype(np.float16)
    built = build_support_set(np.array_split(vectors, pieces))
    assert 8 <= len(built) < 200
    np.testing.assert_array_equal(built, expected)
    unit = unit_vectors(built, "x")
    assert (unit @ unit.T)[~np.eye(len(unit), dtype=bool)].max() < 0.8 + 2e-3  # float16
    np.testing.assert_array_equal(build_support_set(np.array_split(vectors, pieces), limit=5), expected[:5])


def test_temperature_0_is_the_nearest_and_infinity_the_mean() -> None:
    support, text = clustered(60, 12), clustered(3, 12, seed=1)
    unit = unit_vectors(support, "x") @ unit_vectors(text, "x").T
    np.testing.assert_allclose(expand(text, support, temperature=0.0), support[unit.argmax(0)], rtol=1e-6)
    np.testing.assert_allclose(expand(text, support, temperature=1e-7), support[unit.argmax(0)], rtol=1e-5)
    mean = np.repeat(support.mean(0)[None], 3, 0)
    np.testing.assert_allclose(expand(text, support, temperature=math.inf), mean, atol=1e-5)
    np.testing.assert_allclose(expand(text, support, temperature=1e6), mean, atol=1e-4)
    np.testing.assert_allclose(expand(text, support, temperature=math.inf, k=1), support[unit.argmax(0)], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 60), st.floats(0.005, 5.0))
def test_chunks_change_nothing_and_k_takes_the_nearest(chunk: int, k: int, temperature: float) -> None:
    support, text = clustered(60, 12), clustered(2, 12, seed=1)
    got = expand(text, support, temperature=temperature, k=k, chunk=chunk)
    cosine = unit_vectors(text, "x") @ unit_vectors(support, "x").T
    for row, c in zip(got, cosine, strict=True):
        nearest = np.argsort(-c)[:k]
        w = np.exp((c[nearest] - c.max()) / temperature)
        np.testing.assert_allclose(row, (w / w.sum()) @ support[nearest], atol=2e-4)


def test_a_float16_support_set_is_mapped_from_disk(tmp_path: Path) -> None:
    support = clustered(50, 8).astype(np.float16)
    save_support_set(tmp_path / "deep/support.npy", support)
    read = load_support_set(tmp_path / "deep/support.npy")
    assert isinstance(read, np.memmap)
    text = clustered(1, 8, seed=2)
    np.testing.assert_array_equal(expand(text, read), expand(text, support))
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["support.npy"]


@pytest.mark.slow
def test_the_published_size_stays_small_in_memory() -> None:
    draw = np.random.default_rng(0)
    support = draw.normal(size=(100_000, 1024)).astype(np.float16)
    got = expand(draw.normal(size=(2, 1024)), support, k=16)
    assert got.shape == (2, 1024)
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1; expected 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"k": 0}, "k is 0, but the support set has 60 vectors"),
        ({"k": 61}, "expected 1 to 60"),
        ({"chunk": 0}, "chunk is 0"),
        ({"text": np.ones((1, 11))}, r"text embeddings have shape \(1, 11\), the support set \(60, 12\)"),
        ({"text": np.zeros((1, 12))}, "text embeddings: vector 0 is zero or not finite"),
        ({"support": np.zeros((0, 12))}, r"shape \(0, 12\); expected \(V, D\)"),
    ],
)
def test_unusable_input_is_named(changes: dict, message: str) -> None:
    arguments = {"text": np.ones((1, 12)), "support": clustered(60, 12)} | changes
    with pytest.raises((ConfigError, DataError), match=message):
        expand(**arguments)


def test_an_unusable_support_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the support set is empty"):
        build_support_set([])
    with pytest.raises(DataError, match="width 3 after width 4"):
        build_support_set([np.eye(4), np.eye(3)])
    with pytest.raises(ConfigError, match=r"cosine_bound is 1\.5"):
        build_support_set([np.eye(4)], cosine_bound=1.5)
    (tmp_path / "s.npy").write_bytes(b"junk")
    with pytest.raises(DataError, match="not a whole numeric"):
        load_support_set(tmp_path / "s.npy")
