"""Odd tensors in files that call themselves components."""

import pytest
import torch
from policies.t3.small_networks import config, network
from torch import Tensor

from sinew_policies.common.errors import CheckpointError
from sinew_policies.t3.config import HeadConfig
from sinew_policies.t3.shapes import encoder_of, head_of, head_width, trunk_of

NET = network(config(heads={"cls_cnc": HeadConfig("mlp", 6)}))
HUGE = "9" * 5000


def encoder() -> dict[str, Tensor]:
    return dict(NET.encoder("mini").state_dict())


def trunk() -> dict[str, Tensor]:
    return dict(NET.trunk.state_dict())


@pytest.mark.parametrize("number", ["99999999", "3", "01", HUGE])
def test_block_numbers_with_gaps_are_refused(number: str) -> None:
    for read, state in ((encoder_of, encoder()), (trunk_of, trunk())):
        with pytest.raises(CheckpointError, match=r"f: blocks are numbered .*; expected 0, 1, 2, … without gaps"):
            read({**state, f"blocks.{number}.x": torch.zeros(1)}, 2, "f")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pos_embed", (1, 0, 32)),
        ("pos_embed", (1, 1, 32)),
        ("pos_embed", (2, 197, 32)),
        ("pos_embed", (1, 197, 64)),
        ("pos_embed", (1, 198, 32)),
        ("pos_embed", (197, 32)),
        ("patch_embed.proj.weight", (32, 3, 0, 16)),
        ("patch_embed.proj.weight", (0, 3, 16, 16)),
        ("patch_embed.proj.weight", (30, 3, 16, 16)),
        ("patch_embed.proj.weight", (32, 3, 100_000, 16)),
        ("blocks.0.mlp.fc1.weight", (0, 32)),
        ("blocks.0.mlp.fc1.weight", (100_000, 32)),
    ],
)
def test_odd_encoders_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=r"^encoders/mini"):
        encoder_of({**encoder(), name: torch.empty(shape)}, None, "encoders/mini")


@pytest.mark.parametrize("shape", [(0,), (), (30,), (1_000_000,)])
def test_odd_trunks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match=r"^trunk"):
        trunk_of({**trunk(), "norm.weight": torch.empty(shape)}, 3, "trunk")


def test_too_many_blocks_are_refused() -> None:
    state = trunk() | {f"blocks.{i}.x": torch.zeros(1) for i in range(1000)}
    with pytest.raises(CheckpointError, match=r"trunk: .*depth 1000"):
        trunk_of(state, 2, "trunk")


@pytest.mark.parametrize("kind", ["mlp", "two_tower_mlp", "pose", "mae"])
@pytest.mark.parametrize("shape", [(), (5,), (5, 0), (5, 0, 3, 3)])
def test_odd_heads_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    names = ("model.0.weight", "conv_layers.0.conv1.weight", "decoder_embed.weight")
    with pytest.raises(CheckpointError, match=r"decoders/x: tensor '.*weight' is \("):
        head_width(HeadConfig(kind, 3), dict.fromkeys(names, torch.empty(shape)), "decoders/x")


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("cls_cnc", {"model.0.weight": torch.empty(0, 5)}),
        ("cls_cnc", {f"model.{HUGE}.weight": torch.empty(5)}),
        ("mae_recon_single", {"mask_token": torch.empty(1, 1, 0)}),
        ("mae_recon_single", {"mask_token": torch.empty(1, 1, 6)}),
        ("mae_recon_single", {"mask_token": torch.empty(1, 1, 512), "decoder_blocks.9.x": torch.empty(1)}),
    ],
)
def test_heads_of_no_size_are_refused(name: str, state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match=r"^decoders/x"):
        head_of(name, state, None, "decoders/x")
