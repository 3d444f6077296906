"""What turns preprocessed images into the trunk's tokens; heads are the same torch layers behind each."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from sinew_policies.t3.encoder import SensorEncoder
from sinew_policies.t3.network import T3
from sinew_policies.t3.packed_linear import with_packed_linears


class Backbone(Protocol):
    """Encoder and trunk of every sensor."""

    name: str

    def tokens(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images (B, 3, H, W) float32 by sensor to tokens (B, 1 + N, W) by sensor, on the heads' device."""
        ...


class TorchBackbone:
    """The reference: one encoder pass per sensor, one trunk pass for all of them together.

    On a CPU it keeps the weights of linear layers in a layout of its own, as they were when it was made; it has no
    gradients.
    """

    name = "torch"

    def __init__(self, network: T3, device: torch.device) -> None:
        n_tokens = 1 + network.config.encoder.n_patches
        self._device = device
        self._network = network
        self._trunk = network.trunk
        self._encoders = {sensor: network.encoder(sensor) for sensor in network.config.sensors}
        if device.type == "cpu":
            self._trunk = with_packed_linears(self._trunk, n_tokens)
            self._encoders = {sensor: with_packed_linears(e, n_tokens) for sensor, e in self._encoders.items()}

    @torch.no_grad()
    def tokens(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raises ConfigError for a sensor that the network does not have."""
        encoded = {s: self._encoder(s)(x.to(self._device)) for s, x in images.items()}
        tokens = self._trunk(torch.cat(list(encoded.values())))
        return dict(zip(encoded, tokens.split([len(x) for x in encoded.values()]), strict=True))

    def _encoder(self, sensor: str) -> SensorEncoder:
        return self._encoders[sensor] if sensor in self._encoders else self._network.encoder(sensor)
