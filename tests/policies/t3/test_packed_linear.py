"""Packing changes how weights lie in memory, nothing else."""

import pytest
import torch
from policies.t3.small_networks import images, network
from torch import nn

from sinew_policies.common.errors import ConfigError
from sinew_policies.t3.backbone import TorchBackbone
from sinew_policies.t3.packed_linear import PackedLinear, with_packed_linears


@pytest.mark.parametrize("n_images", [1, 3])
def test_packed_backbone_computes_what_the_network_does(n_images: int) -> None:
    net = network()
    got = TorchBackbone(net, torch.device("cpu")).tokens({"mini": images(n_images), "digit": images(1, seed=1)})
    with torch.no_grad():
        torch.testing.assert_close(got["mini"], net.tokens("mini", images(n_images)), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got["digit"], net.tokens("digit", images(1, seed=1)), atol=1e-5, rtol=1e-5)
    assert not got["mini"].requires_grad


def test_the_original_keeps_its_layers_and_other_weights_are_shared() -> None:
    original = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Sequential(nn.Linear(16, 4, bias=False)))
    copy = with_packed_linears(original, 5)
    assert isinstance(original[0], nn.Linear)
    assert copy[1].weight is original[1].weight
    assert isinstance(copy[0], PackedLinear)
    assert isinstance(copy[2][0], PackedLinear)
    x = torch.randn(2, 7, 8)
    with torch.no_grad():
        torch.testing.assert_close(copy(x), original(x), atol=1e-6, rtol=1e-5)


def test_without_onednn_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    linear = nn.Linear(4, 4)
    assert isinstance(with_packed_linears(nn.Sequential(linear), 1)[0], nn.Linear)


def test_other_precisions_stay_as_they_are() -> None:
    assert isinstance(with_packed_linears(nn.Sequential(nn.Linear(4, 4).double()), 1)[0], nn.Linear)


def test_an_unknown_sensor_is_named() -> None:
    with pytest.raises(ConfigError, match="no encoder for sensor 'minni'; did you mean 'mini'"):
        TorchBackbone(network(), torch.device("cpu")).tokens({"minni": images(1)})
