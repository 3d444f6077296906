"""Configurations of published component files, as far as shapes of tensors tell.

Not told: the number of attention heads (64 channels each in the published sizes) and how a head pools.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from sinew_policies.common.errors import CheckpointError
from sinew_policies.t3.config import (
    EncoderConfig,
    HeadConfig,
    TrunkConfig,
    default_heads,
    published_head,
)

State = Mapping[str, Tensor]


def encoder_of(state: State, n_heads: int | None, where: str) -> EncoderConfig:
    """`where` is named in messages, here and below. Raises CheckpointError for tensors of something else."""
    projection = _tensor(state, "patch_embed.proj.weight", 4, where)
    table = _tensor(state, "pos_embed", 3, where)
    width, patch_px = projection.shape[0], projection.shape[2]
    grid = round((table.shape[1] - 1) ** 0.5)
    if grid * grid != table.shape[1] - 1:
        raise CheckpointError(
            f"{where} has {table.shape[1]} positions; expected one more than a square number, as in 1 + 14 x 14"
        )
    return EncoderConfig(
        width,
        _depth(state, "blocks"),
        n_heads or default_heads(width),
        _mlp_ratio(state, "blocks", width, where),
        grid * patch_px,
        patch_px,
    )


def trunk_of(state: State, n_heads: int | None, where: str) -> TrunkConfig:
    width = _tensor(state, "norm.weight", 1, where).shape[0]
    return TrunkConfig(
        width, _depth(state, "blocks"), n_heads or default_heads(width), _mlp_ratio(state, "blocks", width, where)
    )


def head_of(name: str, state: State, given: HeadConfig | None, where: str) -> HeadConfig:
    """`given`, else the published head of that name with the number of outputs of the file.

    Raises ConfigError when neither is known.
    """
    config = given or published_head(name)
    if given is not None:
        return config
    if config.reconstructs:
        width = _tensor(state, "mask_token", 3, where).shape[2]
        crossed = any(".cross_attn." in key for key in state)
        return replace(
            config,
            kind="cross_mae" if crossed else "mae",
            recon_width=width,
            recon_depth=_depth(state, "decoder_blocks"),
        )
    last = max((k for k in state if k.endswith(".weight")), key=_layer_number, default="")
    if not last or state[last].dim() != 2:
        raise CheckpointError(f"{where} is no head: its tensors are {', '.join(sorted(state)[:8])}")
    return replace(config, n_out=state[last].shape[0])


def head_width(config: HeadConfig, state: State) -> int | None:
    """Width of the tokens that a head takes; None where it takes any."""
    match config.kind:
        case "mlp":
            return _columns(state, "model.0.weight", 1)
        case "two_tower_mlp":
            return _columns(state, "model.0.weight", 2)
        case "pose":
            return _columns(state, "conv_layers.0.conv1.weight", 1)
        case "mae" | "cross_mae":
            return _columns(state, "decoder_embed.weight", 1)
        case _:
            return None


def _columns(state: State, name: str, parts: int) -> int | None:
    return state[name].shape[1] // parts if name in state else None


def _tensor(state: State, name: str, dimensions: int, where: str) -> Tensor:
    if name not in state or state[name].dim() != dimensions:
        found = tuple(state[name].shape) if name in state else "missing"
        raise CheckpointError(
            f"{where}: tensor '{name}' is {found}, expected {dimensions} dimensions; this is another component "
            f"(its tensors are {', '.join(sorted(state)[:4])}, …): put each file under its own name"
        )
    return state[name]


def _depth(state: State, group: str) -> int:
    numbers = [int(m[1]) for key in state if (m := re.match(rf"{group}\.(\d+)\.", key))]
    return 1 + max(numbers, default=-1)


def _mlp_ratio(state: State, group: str, width: int, where: str) -> float:
    if _depth(state, group) == 0:
        return 4.0
    return _tensor(state, f"{group}.0.mlp.fc1.weight", 2, where).shape[0] / width


def _layer_number(key: str) -> tuple[bool, int]:
    number = re.search(r"\.(\d+)\.weight$", key)
    return key.startswith(("output_fc.", "model.")), int(number[1]) if number else -1
