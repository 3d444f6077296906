"""Reads the user's CLIP file: OpenAI's RN50.pt, or an open_clip state dict (.pt, .safetensors).

Nothing in the file is executed: OpenAI's is a TorchScript program, of which only the numbers are read.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, escaped
from sinew_policies.common.torch_archive import read_archive, tensors_of
from sinew_policies.psl.clip.network import Clip
from sinew_policies.psl.config import ClipConfig

_SETTINGS = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI stores as tensors
_RESNETS: dict[tuple[tuple[int, ...], int], str] = {
    ((3, 4, 6, 3), 64): "RN50",
    ((3, 4, 23, 3), 64): "RN101",
    ((4, 6, 10, 6), 80): "RN50x4",
    ((6, 8, 18, 8), 96): "RN50x16",
    ((3, 15, 36, 10), 128): "RN50x64",
}
_VITS = {768: "ViT-B", 1024: "ViT-L", 1280: "ViT-H", 1408: "ViT-g", 1664: "ViT-bigG"}


def load_clip(path: Path | str, config: ClipConfig | None = None) -> Clip:
    """The network of the file, float32, frozen, in evaluation mode.

    Raises CheckpointError: no such file, unreadable, another architecture (names what was found and what is
    expected), numbers that are not finite.
    """
    wanted = config or ClipConfig()
    state = read_clip(path)
    found, expected = _describe(state), _description(wanted)
    if found != expected:
        raise CheckpointError(
            f"{path} holds {found}; this policy sees through {expected}. Give OpenAI's RN50.pt or open_clip's RN50 "
            "with OpenAI's weights"
        )
    network = Clip(wanted)
    own = network.state_dict()
    # Files may leave out the counters of BatchNorm, which frozen networks do not use.
    state = {k: own[k] for k in own.keys() - state.keys() if k.endswith("num_batches_tracked")} | state
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"tensor {name[:120]!r} in {path} holds NaN or infinite values; download it again"
            )
    checkpoint.load_into(network, state, path)
    return network.requires_grad_(False).eval()


def read_clip(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a CLIP file under OpenAI's names, floating ones as float32.

    Raises CheckpointError where the file is missing or cannot be read safely.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(
            f"CLIP file {file} does not exist; give the path of OpenAI's RN50.pt or of an open_clip RN50 file"
        )
    if file.suffix == ".safetensors":
        state = checkpoint.parse(file.read_bytes(), file)
    else:
        state = tensors_of(_network_of(read_archive(file)))
    state = {k.removeprefix("module."): v for k, v in state.items()}
    return {
        k: v.float() if v.is_floating_point() else v
        for k, v in state.items()
        if k not in _SETTINGS and not k.endswith("attn_mask")
    }


def _network_of(content: object) -> object:
    """The state dict within a training checkpoint; a network's own file as it is."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content


def _describe(state: Mapping[str, Tensor]) -> str:
    """The architecture that tensor names and shapes tell."""
    stem = state.get("visual.conv1.weight")
    position = state.get("visual.attnpool.positional_embedding")
    projection = state.get("visual.attnpool.c_proj.weight")
    if (
        stem is not None
        and position is not None
        and projection is not None
        and min(stem.ndim, position.ndim, projection.ndim) > 0
    ):
        names = [k.split(".") for k in state if k.startswith("visual.layer") and k.count(".") > 2]
        blocks = tuple(len({n[2] for n in names if n[1] == f"layer{stage}"}) for stage in range(1, 5))
        size = 32 * math.isqrt(max(0, len(position) - 1))
        return _resnet(blocks, 2 * len(stem), size, len(projection))
    if stem is not None and stem.ndim == 4 and "visual.class_embedding" in state:
        width, patch = stem.shape[0], stem.shape[-1]
        return f"a CLIP {_VITS.get(width, 'ViT')}/{patch} of width {width}"
    if not state:
        return "no tensors"
    some = ", ".join(map(escaped, sorted(state)[:4]))
    return f"no CLIP network with OpenAI's names ({len(state)} tensors, such as {some})"


def _description(config: ClipConfig) -> str:
    return _resnet(config.blocks, config.stem_width, config.image_size, config.code)


def _resnet(blocks: tuple[int, ...], width: int, size: int, code: int) -> str:
    name = _RESNETS.get((blocks, width), "ResNet")
    return f"a CLIP {name} (blocks {'-'.join(map(str, blocks))}, width {width}, {size} px, codes of {code})"
