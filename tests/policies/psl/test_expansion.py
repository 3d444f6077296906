"""Expansion's limits are the nearest vector and the mean, whatever the chunks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies.psl.clusters import clustered

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.psl.expansion import expand
from sinew_policies.psl.goal_views import unit_vectors


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
