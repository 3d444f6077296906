"""Reads the recorded PSL cases: configuration, weights by rule, inputs, expected values, tolerances."""

import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from parity.recorded import Arrays, oracle_folder, read_arrays, read_json, weights_for

from sinew_policies.psl.config import ClipConfig, PSLConfig
from sinew_policies.psl.network import PSLPolicy

# Absolute tolerance of each recorded array; arrays that are not listed are compared exactly.
ATOL = {
    "logits": 2e-5,
    "logp": 2e-5,
    "value": 2e-5,
    "zS": 2e-5,
    "spm": 2e-5,
    "zL": 1e-4,
    "rnn_in": 1e-4,
    "hidden": 1e-4,
    "layout2048_sum": 2e-3,
}

_CLIP, _TOWER = "net.visual_encoder.", "net.visual_encoder.visual."


FOLDER = oracle_folder("psl")


def case_folders() -> list[Path]:
    """The folder itself and every folder below it that describes a case."""
    return sorted(p.parent for p in FOLDER.rglob("config.json"))


def index_places(folder: Path) -> list[Path]:
    """Where the names and shapes of a case's weights may be listed: beside it or in a folder above."""
    return [folder, *folder.parents[: len(folder.relative_to(FOLDER.parent).parts)]]


def crops(folder: Path) -> list[Path]:
    """Files of crops of the first frame, told by their arrays: resize<pixels>_<kernel>_aa<0 or 1>."""
    named = {file: list(read_arrays(file)) for file in sorted(folder.glob("*.npz"))}
    return [file for file, names in named.items() if names and all(n.startswith("resize") for n in names)]


@dataclass(frozen=True)
class Case:
    """A recorded sequence and the network that it was recorded from."""

    folder: Path
    raw: dict
    inputs: Arrays

    @staticmethod
    def read(folder: Path) -> "Case":
        return Case(folder, read_json(folder / "config.json"), read_arrays(folder / "inputs.npz"))

    @property
    def recordings(self) -> dict[str, bool]:
        """Output file and whether its images were resized with antialiasing."""
        return dict(self.raw["antialias_files"])

    def network(self, *, antialias: bool) -> PSLPolicy:
        return _network(self.folder, antialias)

    def frames(self) -> NDArray[np.uint8]:
        """(T, B, H, W, 3): every pixel of the small images repeated."""
        times = self.raw["upsample"]
        frames = self.inputs["base"].repeat(times, axis=2).repeat(times, axis=3)
        assert frames.shape[2:] == (self.raw["image_h"], self.raw["image_w"], 3)
        return frames.astype(np.uint8)


@cache
def _network(folder: Path, antialias: bool) -> PSLPolicy:
    raw = read_json(folder / "config.json")
    state = weights_for(raw["weights"], index_places(folder), weight_by_rule, _is_needed)
    policy = PSLPolicy(_config(raw, state, antialias))
    text = {k for k in policy.state_dict() if k.startswith(_CLIP) and not k.startswith(_TOWER)}
    if not text & state.keys():  # an index may leave out the text tower, which these recordings do not involve
        state = state | {k: v for k, v in policy.state_dict().items() if k in text}
    policy.load_state_dict(state, strict=True)
    return policy.eval()


def _is_needed(name: str) -> bool:
    return not name.startswith(_CLIP) or name.startswith(_TOWER)


def weight_by_rule(name: str, kind: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "_count":
        return np.full(shape, 1000, np.float32)
    if leaf == "logit_scale":
        return np.full(shape, 4.6052, np.float32)
    n = np.asarray(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape))
    if leaf in ("running_var", "_var"):
        w = 0.5 + np.abs(n)
    elif leaf in ("running_mean", "_mean") or "bias" in leaf:
        w = 0.1 * n
    elif leaf == "weight" and len(shape) == 1:
        w = 1 + 0.1 * n
    elif "embedding" in name:
        w = 0.5 * n
    else:
        w = n / np.sqrt(np.prod(shape[1:]))
    return w.astype(np.float32)


def _config(raw: dict, state: dict[str, torch.Tensor], antialias: bool) -> PSLConfig:
    assert raw["rnn_kind"] == "LSTM"
    assert raw["rnn_input_order"] == ["fusion", "layout", "action"]
    net = raw["semantic_net"]
    assert (net["image"], net["code"]) == (raw["semantic_crop"], raw["semantic_code"])
    assert raw["semantic_code"] == raw["goal_code"]
    clip = ClipConfig(
        image_size=raw["semantic_crop"],
        blocks=tuple(net["blocks"]),
        stem_width=net["stem_width"],
        visual_heads=net["heads"],
        code=raw["semantic_code"],
        mean=tuple(raw["semantic_mean"]),
        std=tuple(raw["semantic_std"]),
        **_text_sizes(state),
    )
    config = PSLConfig(
        image_height=raw["image_h"],
        image_width=raw["image_w"],
        n_actions=raw["n_actions"],
        clip=clip,
        semantic_kernel=raw["semantic_resize_kernel"],
        layout_size=raw["layout_crop"],
        layout_kernel=raw["layout_resize_kernel"],
        layout_planes=raw["layout_base_planes"],
        layout_blocks=tuple(raw["layout_blocks"]),
        layout_groups=raw["layout_groups"],
        compress_channels=raw["compress_channels"],
        layout_code=raw["layout_code"],
        fusion_hidden=raw["fusion_hidden"],
        fusion_code=raw["fusion_code"],
        action_code=raw["action_code"],
        rnn_hidden=raw["rnn_hidden"],
        rnn_layers=raw["rnn_layers"],
        antialias=antialias,
    )
    assert config.rnn_input == raw["rnn_input"]
    return config


def _text_sizes(state: dict[str, torch.Tensor]) -> dict[str, int]:
    """The text tower's sizes, which only the weights tell."""
    if f"{_CLIP}token_embedding.weight" not in state:
        return {}
    vocabulary, width = state[f"{_CLIP}token_embedding.weight"].shape
    layers = {k.removeprefix(f"{_CLIP}transformer.resblocks.").split(".")[0] for k in state if "resblocks" in k}
    return {
        "context_length": len(state[f"{_CLIP}positional_embedding"]),
        "vocabulary": vocabulary,
        "text_width": width,
        "text_heads": max(1, width // 64),
        "text_layers": len(layers),
    }
