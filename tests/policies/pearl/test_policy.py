from pathlib import Path

import numpy as np
import pytest
import torch

from sinew_policies.common.errors import CheckpointError, ConfigError, DataError
from sinew_policies.pearl.policy import Policy, PolicyConfig, PolicyNetwork


@pytest.fixture
def policy() -> Policy:
    torch.manual_seed(0)
    network = PolicyNetwork(PolicyConfig(5, 2, (8,)))
    network.normaliser.fit(torch.randn(50, 5) * 3 + 1)
    return Policy(network)


def test_one_observation_and_many(policy: Policy) -> None:
    o = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    many = policy.act(o)
    assert many.shape == (6, 2)
    assert np.abs(many).max() <= 1
    assert np.allclose(policy.act(o[2]), many[2], atol=1e-6)


def test_saved_and_loaded(policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path / "p", "# A policy")
    o = np.ones(5, np.float32)
    assert np.array_equal(Policy.load(tmp_path / "p").act(o), policy.act(o))
    assert "A policy" in (tmp_path / "p" / "card.md").read_text()
    with pytest.raises(CheckpointError, match="does not exist"):
        Policy.load(tmp_path / "q")


def test_bad_input_is_refused(policy: Policy) -> None:
    with pytest.raises(DataError, match="expects 5 numbers"):
        policy.act(np.zeros(4, np.float32))
    with pytest.raises(DataError, match="no action was taken"):
        policy.act(np.full(5, np.nan, np.float32))
    with pytest.raises(ConfigError, match="at least 1"):
        PolicyConfig(0, 2)
