"""A policy from its weights: a weights folder of ours, or the published checkpoint.

Everything outside CLIP is trainable and must be there, exactly; an official loader that skips unknown names would
hide a wrong file. CLIP may be in the weights (`net.visual_encoder`, or its unused second copy `net.clip`) or come
from the user's own CLIP file.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import CheckpointError, escaped
from sinew_policies.common.torch_archive import read_archive, tensors_of
from sinew_policies.psl.clip.loader import load_clip
from sinew_policies.psl.clip.vision import ModifiedResNet
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.network import PSLPolicy

_OUTER = "actor_critic."
_CLIP, _SECOND_CLIP = "net.visual_encoder.", "net.clip."


def load_policy(path: Path | str, *, clip: Path | str | None = None, config: PSLConfig | None = None) -> PSLPolicy:
    """The policy in evaluation mode on the CPU.

    `path`: a weights folder, or the published .pth file. `clip`: a CLIP file, needed and used only where the
    weights hold no CLIP. `config`: the network of a published file; None is the published one. Raises
    CheckpointError where something is missing, damaged or does not fit.
    """
    source = Path(path)
    if source.name == checkpoint.WEIGHTS and source.is_file():
        source = source.parent  # the file inside a weights folder was named
    if source.is_dir():
        state, config = checkpoint.load_state(source), checkpoint.load_config(source, PSLConfig)
    else:
        state = read_published(source)
    policy = PSLPolicy(config or PSLConfig.published())
    load_state(policy, state, source, clip=clip)
    return policy.eval()


def load_state(
    policy: PSLPolicy, state: Mapping[str, Tensor], source: Path | str, *, clip: Path | str | None = None
) -> None:
    """Copies `state` into `policy`, names without `actor_critic.`; `source` is named in messages.

    Raises CheckpointError as `load_policy`; then the policy was not changed.
    """
    rest = {k: v for k, v in state.items() if not k.startswith((_CLIP, _SECOND_CLIP))}
    own = policy.state_dict()
    _check_trainable(rest, own, source)
    counters = {k: v for k, v in own.items() if k.startswith(_CLIP) and k.endswith("num_batches_tracked")}
    network_clip = _clip_within(state) or _clip_from(clip, policy, source)
    checkpoint.load_into(policy, {**counters, **rest, **network_clip}, source)


def load_trainable(policy: PSLPolicy, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Copies everything but CLIP, which stays as it is.

    Raises CheckpointError where names, shapes or values are wrong; then the policy was not changed.
    """
    own = policy.state_dict()
    _check_trainable(state, own, source)
    checkpoint.load_into(policy, {**own, **state}, source)


def trainable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a policy's state dict that training changes: all but CLIP."""
    return {k: v for k, v in state.items() if not k.startswith(_CLIP)}


def save_policy(folder: Path | str, policy: PSLPolicy, card: str, *, with_clip: bool = False) -> None:
    """Writes a weights folder; CLIP, which is frozen and the user's own file, only where asked for.

    Raises CheckpointError for the CLIP of a predictor, whose weights are no longer those of its file.
    """
    if with_clip and not isinstance(policy.clip.visual, ModifiedResNet):
        raise CheckpointError(
            "the CLIP tower of a predictor's policy is folded and cannot be saved; save the policy that the "
            "predictor was made from, or leave CLIP out"
        )
    state = policy.state_dict()
    checkpoint.save(folder, state if with_clip else trainable(state), policy.config, card)


def load_layout(policy: PSLPolicy, path: Path | str) -> None:
    """Starts the layout backbone from a self-supervised file (OVRL): the student of its sub-dict `teacher`.

    Its projection head is left aside. Raises CheckpointError where the backbone does not fit.
    """
    content = read_archive(Path(path))
    teacher = content.get("teacher") if isinstance(content, Mapping) else None
    if not isinstance(teacher, Mapping):
        raise CheckpointError(f"{path} has no sub-dict 'teacher'; give OVRL's published .pth file")
    tensors = {k.removeprefix("module."): v for k, v in tensors_of(teacher).items()}
    found = {k.removeprefix("backbone."): v.float() for k, v in tensors.items() if k.startswith("backbone.")}
    checkpoint.load_into(policy.net.layout_encoder.backbone, found, path)


def read_published(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a published checkpoint {state_dict, config, …} by name, without the outer `actor_critic.`.

    Raises CheckpointError where the file is missing, unreadable, or holds no policy.
    """
    content = read_archive(Path(path))
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        keys = (
            ", ".join(escaped(k) for k in content if isinstance(k, str))[:200]
            if isinstance(content, Mapping)
            else f"a {type(content).__name__}"
        )
        raise CheckpointError(
            f"{path} has no 'state_dict' (it holds: {keys or 'nothing'}); give the published PSL checkpoint or a "
            "weights folder"
        )
    tensors = tensors_of(state)
    if any(name.startswith(_OUTER) for name in tensors):
        tensors = {name.removeprefix(_OUTER): tensor for name, tensor in tensors.items()}
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def _check_trainable(rest: Mapping[str, Tensor], own: Mapping[str, Tensor], source: Path | str) -> None:
    checkpoint.check_fits(rest, trainable(own), source)
    for name, tensor in rest.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"tensor {name[:120]!r} in {source} holds NaN or infinite values; use other weights"
            )


def _clip_within(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for prefix in (_CLIP, _SECOND_CLIP):
        found = {_CLIP + k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if found:
            return found
    return {}


def _clip_from(file: Path | str | None, policy: PSLPolicy, source: Path | str) -> dict[str, Tensor]:
    if file is None:
        raise CheckpointError(
            f"the weights of {source} hold no CLIP network; give the path of OpenAI's RN50.pt or of an open_clip "
            "RN50 file as clip="
        )
    return {_CLIP + k: v for k, v in load_clip(file, policy.config.clip).state_dict().items()}
