"""What turns preprocessed images into the trunk's tokens; heads are the same torch layers behind each."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from sinew_policies.t3.network import T3


class Backbone(Protocol):
    """Encoder and trunk of every sensor."""

    name: str

    def tokens(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images (B, 3, H, W) float32 by sensor to tokens (B, 1 + N, W) by sensor, on the heads' device."""
        ...


class TorchBackbone:
    """The reference: one encoder pass per sensor, one trunk pass for all of them together."""

    name = "torch"

    def __init__(self, network: T3, device: torch.device) -> None:
        self._network = network
        self._device = device

    def tokens(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        encoded = {s: self._network.encoder(s)(x.to(self._device)) for s, x in images.items()}
        tokens = self._network.trunk(torch.cat(list(encoded.values())))
        return dict(zip(encoded, tokens.split([len(x) for x in encoded.values()]), strict=True))
