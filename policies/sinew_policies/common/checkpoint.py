"""A weights folder: `weights.safetensors`, `config.yaml` (network configuration, sha256) and `card.md`.

Nothing in it can run code: tensors are safetensors, the configuration is plain YAML, and a folder that holds a
pickle is refused. Published `.pth` files are read by `torch_archive` only. Every fault is a CheckpointError that
names the file, tensor or value and what to do.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import draccus
import torch
import yaml
from draccus.utils import DraccusException
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as encode_tensors
from torch import Tensor, nn

from sinew_policies.common.config import read_yaml
from sinew_policies.common.errors import CheckpointError, ConfigError, escaped, name_hint
from sinew_policies.common.inert_pickle import Inert
from sinew_policies.common.torch_archive import DTYPE_NAMES, DTYPES, read_archive

WEIGHTS = "weights.safetensors"
CONFIG = "config.yaml"
CARD = "card.md"
FORMAT = 1

_PICKLE_SUFFIXES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz")
_SHOWN = 8  # names in a message

C = TypeVar("C")


def save(
    folder: Path | str,
    state: Mapping[str, Tensor],
    config: object,
    card: str,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes a weights folder; each file appears complete or not at all, the configuration last.

    `config` is the network's frozen dataclass. `card` is Markdown: training data, command, seed, scores; the
    hash is appended. `dtype` stores floating tensors narrower (torch.float16 halves the file).
    """
    if not is_dataclass(config) or isinstance(config, type):
        raise ConfigError(f"config is a {type(config).__name__}, expected a dataclass instance")
    tensors = {name: _to_store(name, tensor, dtype) for name, tensor in state.items()}
    payload = encode_tensors(tensors)
    digest = hashlib.sha256(payload).hexdigest()
    document = {
        "format": FORMAT,
        "config_type": type(config).__name__,
        "weights": {"file": WEIGHTS, "sha256": digest, "tensors": len(tensors)},
        "config": draccus.encode(config),
    }
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    _write(root / WEIGHTS, payload)
    _write(root / CARD, f"{card.rstrip()}\n\n- sha256 of {WEIGHTS}: `{digest}`\n".encode())
    _write(root / CONFIG, yaml.safe_dump(document, sort_keys=False, default_flow_style=None).encode())


def load_state(folder: Path | str) -> dict[str, Tensor]:
    """Tensors of a weights folder, on the CPU, after checking the whole folder and the hash."""
    root = Path(folder)
    document = _read_document(root)
    path = root / WEIGHTS
    payload = path.read_bytes()
    wanted = document["weights"]["sha256"]
    digest = hashlib.sha256(payload).hexdigest()
    if digest != wanted:
        if _looks_like_pickle(payload):
            raise CheckpointError(f"{path} is a pickle, not safetensors; it was not opened. {_CONVERT}")
        raise CheckpointError(
            f"{path} has sha256 {digest}, {CONFIG} says {wanted}; the file is damaged, incomplete or from another "
            "training: copy the folder again as a whole"
        )
    state = parse(payload, path)
    _refuse_unusable(state, path)
    return state


def parse(payload: bytes, source: Path | str) -> dict[str, Tensor]:
    """Tensors of a safetensors file; `source` is named in messages.

    Raises CheckpointError where it is damaged or holds numbers of a type that networks are not trained in.
    """
    try:
        state = parse_tensors(payload)
    except Exception as e:  # SafetensorError; a KeyError for a type that torch lacks
        raise CheckpointError(
            f"{source} is not a readable safetensors file ({escaped(str(e))}); copy or download it again"
        ) from e
    for name, tensor in state.items():
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"tensor {name[:120]!r} in {source} is {tensor.dtype}; expected one of {DTYPE_NAMES}: use the "
                "weights as they were trained"
            )
    return state


def load_config(folder: Path | str, config_type: type[C]) -> C:
    """The network configuration of a weights folder, decoded strictly into `config_type`."""
    root = Path(folder)
    path = root / CONFIG
    document = _read_document(root)
    if document["config_type"] != config_type.__name__:
        raise CheckpointError(
            f"{path} belongs to a {document['config_type']}, expected {config_type.__name__}; these weights are "
            "for another network"
        )
    try:
        return draccus.decode(config_type, document["config"])
    except (DraccusException, ConfigError, TypeError, ValueError) as e:
        fields = getattr(config_type, "__dataclass_fields__", {})
        unknown = [k for k in document["config"] if k not in fields]
        hint = f"; {name_hint(str(unknown[0]), fields)}" if unknown else ""
        raise CheckpointError(f"{path}: {e}{hint}; restore the file that came with the weights") from e


def load_into(network: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Copies `state` into `network` strictly; `source` is named in messages.

    Raises CheckpointError listing missing, extra and mis-shaped tensors; then nothing was changed.
    """
    check_fits(state, network.state_dict(), source)
    network.load_state_dict(dict(state))


def check_fits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: Path | str) -> None:
    """Raises CheckpointError unless `state` has exactly the names and shapes of `expected`."""
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    shaped = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & state.keys())
        if state[name].shape != expected[name].shape
    ]
    faults = [
        f"{len(found)} {kind}: {', '.join(map(escaped, found[:_SHOWN]))}{' …' if len(found) > _SHOWN else ''}"
        for kind, found in (("missing", missing), ("extra", extra), ("mis-shaped", shaped))
        if found
    ]
    if faults:
        raise CheckpointError(
            f"weights of {source} do not fit the network ({len(expected)} tensors): {'; '.join(faults)}. "
            f"Use the {CONFIG} that was saved with these weights"
        )


def load_published(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a published `.pth` file ({'model': …, 'epoch': …, 'optimizer': …} or the tensors themselves).

    Read by `torch_archive`, which runs nothing. Raises CheckpointError for a file that is missing, damaged, made to
    do harm, or holds anything else than tensors by name.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"weights file {file} does not exist; give the path of the published .pth file")
    content = read_archive(file)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"{file} holds {_kind(content)}, no state dict; expected tensors by name, or them under 'model': ask "
            "its author for a state dict or for safetensors"
        )
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            known = ", ".join(map(_key, list(content)[:_SHOWN]))
            raise CheckpointError(
                f"{file}: entry {_key(name)} is {_kind(tensor)}, expected dense tensors by name; its entries are "
                f"{known}: ask its author for a plain state dict"
            )
    # Weights saved from a data-parallel wrapper carry its prefix.
    state = {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
    _refuse_unusable(state, file)
    return state


_CONVERT = (
    "Pickles can run code when opened; remove it, or convert weights you trust with "
    "sinew_policies.common.checkpoint.load_published and save"
)


def _refuse_unusable(state: Mapping[str, Tensor], source: Path) -> None:
    for name, tensor in state.items():
        if not name.isprintable():
            raise CheckpointError(
                f"{source}: a tensor is named {name[:120]!r}; expected printable text: use other weights"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"tensor {name[:120]!r} in {source} holds NaN or infinite values; use other weights"
            )


def _kind(value: object) -> str:
    return f"an object of {value.origin[:80]!r}" if isinstance(value, Inert) else f"a {type(value).__name__}"


def _key(key: object) -> str:
    return repr(key[:120]) if isinstance(key, str) else _kind(key)


def _to_store(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    stored = tensor.detach().cpu()
    if stored.is_floating_point():
        if not bool(torch.isfinite(stored).all()):
            raise CheckpointError(
                f"tensor '{name}' holds NaN or infinite values; it was not saved: training diverged"
            )
        if dtype is not None:
            stored = stored.to(dtype)
            if not bool(torch.isfinite(stored).all()):
                raise CheckpointError(f"tensor '{name}' overflows {dtype}; save it without a dtype")
    return stored.contiguous().clone()  # safetensors refuses shared memory


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    partial.replace(path)


def _read_document(root: Path) -> dict[str, Any]:
    """config.yaml, checked for form, of a folder that holds what it must and no pickle."""
    if not root.is_dir():
        raise CheckpointError(
            f"weights folder {root} does not exist; expected a folder with {WEIGHTS} and {CONFIG}"
        )
    files = sorted(p for p in root.iterdir() if p.is_file())
    for file in files:
        if file.suffix.lower() in _PICKLE_SUFFIXES or (file.name != WEIGHTS and _starts_like_pickle(file)):
            raise CheckpointError(f"weights folder {root} holds the pickle '{file.name}'. {_CONVERT}")
    for name in (CONFIG, WEIGHTS):
        if not (root / name).is_file():
            found = ", ".join(f.name for f in files) or "nothing"
            raise CheckpointError(
                f"weights folder {root} lacks {name}; it holds {found}. Copy the folder as a whole"
            )
    path = root / CONFIG
    try:
        document = read_yaml(path)
    except ConfigError as e:
        raise CheckpointError(f"{e}, or restore the file that came with the weights") from e
    weights = document.get("weights") if isinstance(document, dict) else None
    if (
        not isinstance(weights, dict)
        or not isinstance(weights.get("sha256"), str)
        or not isinstance(document.get("config"), dict)
        or not isinstance(document.get("config_type"), str)
    ):
        raise CheckpointError(
            f"{path} lacks one of: format, config_type, weights.sha256, config; restore the file that came with "
            "the weights"
        )
    if document.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {document.get('format')!r}, this version reads {FORMAT}; update sinew or re-save"
        )
    return document


def _starts_like_pickle(path: Path) -> bool:
    with path.open("rb") as f:
        return _looks_like_pickle(f.read(16))


def _looks_like_pickle(head: bytes) -> bool:
    zipped = head.startswith(b"PK\x03\x04")  # torch.save
    # Protocol 2 to 5; a safetensors header could begin with the same two bytes, but continues with a brace.
    plain = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and head[8:9] != b"{"
    return zipped or plain
