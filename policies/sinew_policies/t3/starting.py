"""The network that a training begins with: new, or made of components of an earlier stage."""

from dataclasses import replace

import torch

from sinew_policies.common.errors import CheckpointError, ConfigError, name_hint
from sinew_policies.common.seeds import checked
from sinew_policies.t3 import components
from sinew_policies.t3.config import HeadConfig, T3Config, published_head
from sinew_policies.t3.network import T3
from sinew_policies.t3.train_config import FRESH, RECONSTRUCTION_HEAD, TrainConfig


def starting_network(config: TrainConfig, sensors: tuple[str, ...], heads: tuple[str, ...]) -> T3:
    """With exactly these sensors and heads. Heads that `start` lacks are random; sensors only where asked for.

    Raises CheckpointError for encoders that are missing in `start`, or damaged components.
    """
    if config.start is None:
        shape, masking = config.shape, config.masking
        torch.manual_seed(checked(config.seed))
        named = {name: _head(name, config) for name in heads}
        return T3(T3Config(shape.encoder(masking), shape.trunk(), sensors, named))
    there = components.contents(config.start)
    missing = [s for s in sensors if s not in there.sensors]
    _check_replacement(config, missing, there.sensors)
    loaded = [s for s in sensors if s in there.sensors]
    if missing and config.encoder_from != FRESH and config.encoder_from not in loaded:
        loaded.append(str(config.encoder_from))
    kept = [h for h in heads if h in there.heads]
    network = components.load(
        config.start, loaded or there.sensors[:1], kept, components.LoadOptions(masking=config.masking)
    )
    begin = None if config.encoder_from == FRESH else config.encoder_from
    network = components.extended(
        network,
        sensors=dict.fromkeys(missing, begin),
        heads={h: _head(h, config) for h in heads if h not in kept},
        seed=config.seed,
    )
    return _only(network, sensors, heads)


def _check_replacement(config: TrainConfig, missing: list[str], there: tuple[str, ...]) -> None:
    if missing and config.encoder_from is None:
        raise CheckpointError(
            f"{config.start} has no encoder {', '.join(missing)}, only: {', '.join(there) or '(none)'}. Start them "
            f"from another one with --encoder-from NAME, or from random weights with --encoder-from {FRESH}"
        )
    if missing and config.encoder_from != FRESH and config.encoder_from not in there:
        raise ConfigError(
            f"--encoder-from {config.encoder_from}: {config.start} has no such encoder; "
            f"{name_hint(str(config.encoder_from), (*there, FRESH))}"
        )


def _head(name: str, config: TrainConfig) -> HeadConfig:
    if name == RECONSTRUCTION_HEAD:
        return config.shape.reconstruction(config.cross_reconstruction)
    return replace(published_head(name), dropout=config.shape.dropout)


def _only(network: T3, sensors: tuple[str, ...], heads: tuple[str, ...]) -> T3:
    """Without parts that were loaded only to start others from."""
    if set(network.config.sensors) == set(sensors):
        return network
    old = network.config
    config = T3Config(old.encoder, old.trunk, sensors, {h: old.heads[h] for h in heads})
    smaller = T3(config)
    wanted = smaller.state_dict()
    smaller.load_state_dict({k: v for k, v in network.state_dict().items() if k in wanted})
    return smaller
