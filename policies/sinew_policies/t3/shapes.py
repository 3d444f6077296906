"""Configurations of published component files, as far as shapes of tensors tell.

Not told: the number of attention heads (64 channels each in the published sizes) and how a head pools.
"""

import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor

from sinew_policies.common.errors import CheckpointError, ConfigError
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
    width, patch_px = projection.shape[0], projection.shape[2]
    grid = math.isqrt(positions_of(state, width, where).shape[1] - 1)
    depth, mlp_ratio = _depth(state, "blocks", where), _mlp_ratio(state, "blocks", width, where)
    with _named(where):
        return EncoderConfig(width, depth, n_heads or default_heads(width), mlp_ratio, grid * patch_px, patch_px)


def positions_of(state: State, width: int, where: str) -> Tensor:
    """The position table (1, 1 + g², width) of an encoder. Raises CheckpointError for anything else."""
    table = _tensor(state, "pos_embed", 3, where)
    n_patches = table.shape[1] - 1
    if table.shape[::2] != (1, width) or n_patches < 1 or math.isqrt(n_patches) ** 2 != n_patches:
        raise CheckpointError(
            f"{where}: pos_embed is {tuple(table.shape)}; expected (1, n, {width}) with n one more than a square "
            "number, as in 1 + 14 x 14: use an encoder of the published form"
        )
    return table


def trunk_of(state: State, n_heads: int | None, where: str) -> TrunkConfig:
    width = _tensor(state, "norm.weight", 1, where).shape[0]
    depth, mlp_ratio = _depth(state, "blocks", where), _mlp_ratio(state, "blocks", width, where)
    with _named(where):
        return TrunkConfig(width, depth, n_heads or default_heads(width), mlp_ratio)


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
        depth = _depth(state, "decoder_blocks", where)
        with _named(where):
            return replace(config, kind="cross_mae" if crossed else "mae", recon_width=width, recon_depth=depth)
    last = max((k for k in state if k.endswith(".weight")), key=_layer_number, default="")
    if not last or state[last].dim() != 2:
        raise CheckpointError(f"{where} is no head: its tensors are {', '.join(sorted(state)[:8])}")
    with _named(where):
        return replace(config, n_out=state[last].shape[0])


def head_width(config: HeadConfig, state: State, where: str) -> int | None:
    """Width of the tokens that a head takes; None where it takes any, or its first layer is missing."""
    match config.kind:
        case "mlp" | "two_tower_mlp":
            name, dimensions = "model.0.weight", 2
        case "pose":
            name, dimensions = "conv_layers.0.conv1.weight", 4
        case "mae" | "cross_mae":
            name, dimensions = "decoder_embed.weight", 2
        case _:
            return None
    if name not in state:
        return None
    columns = _tensor(state, name, dimensions, where).shape[1]
    return columns // 2 if config.kind == "two_tower_mlp" else columns


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Puts the file before the message of a size that no network can have."""
    try:
        yield
    except ConfigError as fault:
        raise CheckpointError(f"{where}: {fault}; use other weights") from fault


def _tensor(state: State, name: str, dimensions: int, where: str) -> Tensor:
    if name not in state or state[name].dim() != dimensions or not state[name].numel():
        found = tuple(state[name].shape) if name in state else "missing"
        raise CheckpointError(
            f"{where}: tensor '{name}' is {found}, expected {dimensions} dimensions, none 0; this is another "
            f"component (its tensors are {', '.join(sorted(state)[:4])}, …): put each file under its own name"
        )
    return state[name]


def _depth(state: State, group: str, where: str) -> int:
    found = {m[1] for key in state if (m := re.match(rf"{group}\.(\d+)\.", key))}
    if found != {str(i) for i in range(len(found))}:
        raise CheckpointError(
            f"{where}: {group} are numbered {reprlib.repr(sorted(found))}; expected 0, 1, 2, … without gaps: the "
            "file is incomplete or no component of T3"
        )
    return len(found)


def _mlp_ratio(state: State, group: str, width: int, where: str) -> float:
    if _depth(state, group, where) == 0:
        return 4.0
    return _tensor(state, f"{group}.0.mlp.fc1.weight", 2, where).shape[0] / width


def _layer_number(key: str) -> tuple[bool, int]:
    number = re.search(r"\.(\d{1,4})\.weight$", key)
    return key.startswith(("output_fc.", "model.")), int(number[1]) if number else -1
