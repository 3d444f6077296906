"""Reads a PyTorch zip file, `torch.save` or TorchScript, without running anything in it.

Such a file is a pickle beside raw numbers. Published policies carry their training configuration as pickled
objects, and OpenAI's CLIP is a TorchScript program, so that torch's restricted loader refuses both and torch's
other loaders would execute them; and a pickle of a few hundred bytes keeps any of them busy for ever. Here
everything in the pickle is inert, except for the one recipe that says how numbers form a tensor; the program code
in a TorchScript file is never looked at. Time and memory stay in proportion to the file's size.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sinew_policies.common.errors import CheckpointError, escaped
from sinew_policies.common.inert_pickle import Inert, build

_STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
DTYPES = tuple(_STORAGES.values())  # in which weights are read, from here or elsewhere
DTYPE_NAMES = ", ".join(str(d).removeprefix("torch.") for d in DTYPES)
_MAX_DIRECTORY_BYTES = 32 << 20  # of the zip file's list of records
_MAX_PICKLE_BYTES = 64 << 20  # structure only: numbers lie outside it
_MAX_COPIES = 4  # bytes of tensors for each byte of the file
_MAX_DIMENSIONS = 64
_MAX_DEPTH = 64
_MAX_ENTRIES = 100_000  # on all ways to them: containers that share children multiply them


def read_archive(path: Path) -> object:
    """What was saved: tensors on the CPU, plain containers, and an `Inert` for every other object.

    Raises CheckpointError where the file is missing, damaged, compressed, in another format, or made to do harm.
    """
    if not path.is_file():  # a pipe would keep us waiting
        raise CheckpointError(f"{path} does not exist as a file; give the path of the published file (.pt or .pth)")
    try:
        with _ArchiveFile(path) as opened, zipfile.ZipFile(opened) as file:
            opened.listed = True
            return _Archive(file, path).read()
    except CheckpointError:
        raise
    except Exception as fault:  # a damaged or hostile file can raise anything
        raise CheckpointError(
            f"{path} is not a readable PyTorch file ({type(fault).__name__}: {escaped(str(fault))}); it is damaged "
            "or was saved before torch 1.6: download it again, or ask its author to save its state dict anew"
        ) from fault


def tensors_of(root: object) -> dict[str, Tensor]:
    """Tensors below `root` by dotted name: entries of containers and attributes of objects.

    Raises CheckpointError where they nest deeper, or hold more entries, than a network does.
    """
    return dict(_walk(root, "", set(), 0, count()))


def _walk(
    node: object, name: str, above: set[int], depth: int, entries: Iterator[int]
) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield name, node
        return
    if not isinstance(node, Mapping) or id(node) in above:
        return
    if depth > _MAX_DEPTH:
        raise CheckpointError(
            f"{name[:80] + '…'!r} nests deeper than {_MAX_DEPTH} levels; this is not a network's file"
        )
    children: dict[Any, object] = {**node, **(node.attributes if isinstance(node, Inert) else {})}
    for key, child in children.items():
        if next(entries) >= _MAX_ENTRIES:
            raise CheckpointError(
                f"{name[:80] + '…'!r} is one of over {_MAX_ENTRIES} entries; this is not a network's file"
            )
        if isinstance(key, str):
            yield from _walk(child, f"{name}.{key}" if name else key, above | {id(node)}, depth + 1, entries)


class _ArchiveFile(FileIO):
    """Refuses to read the list of records, which `zipfile` does at once, where that would fill the memory."""

    listed = False

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.listed and size is not None and size > _MAX_DIRECTORY_BYTES:
            raise ValueError(f"its list of records has {size} bytes, expected at most {_MAX_DIRECTORY_BYTES}")
        return super().read(size)


class _Archive:
    def __init__(self, file: zipfile.ZipFile, path: Path) -> None:
        self._file, self._path = file, path
        self._records = {i.filename: i for i in file.infolist()}
        self._storages: dict[str, Tensor] = {}
        self._left_stored = path.stat().st_size  # bytes; several records could name the same part of the file
        self._left_copied = _MAX_COPIES * self._left_stored
        pickles = [n for n in self._records if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(
                f"{path} is a zip file without PyTorch's data.pkl; give the .pt or .pth file as it was published"
            )
        self._root = pickles[0].removesuffix("data.pkl")

    def read(self) -> object:
        recipes: dict[str, Callable[..., object]] = {
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
        }
        return build(self._record("data.pkl", _MAX_PICKLE_BYTES), recipes, self._storage)

    def _storage(self, reference: Any) -> Tensor:
        """(count,) numbers of the record `data/<key>`, as they lie in the file."""
        kind, storage, key, _, count = reference
        if not (
            kind == "storage" and isinstance(storage, Inert) and isinstance(key, str) and isinstance(count, int)
        ):
            raise ValueError("numbers are referred to by something else than their type, name and count")
        dtype = _STORAGES.get(storage.origin)
        if dtype is None:
            raise CheckpointError(
                f"{self._path} holds numbers of type {storage.origin[:80]!r}; expected one of {DTYPE_NAMES}: ask "
                "for the weights as they were trained"
            )
        if key not in self._storages:
            n_bytes = count * dtype.itemsize
            content = self._record(f"data/{key}", n_bytes)
            if len(content) != n_bytes:
                raise CheckpointError(
                    f"{self._path}: record {'data/' + key[:80]!r} has {len(content)} bytes, its {count} numbers "
                    f"need {n_bytes}; download the file again"
                )
            self._storages[key] = (
                torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
        stored = self._storages[key]
        return stored if stored.dtype == dtype else stored.view(dtype)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:
        whole = all(isinstance(n, int) for n in (offset, *size, *stride))
        if not isinstance(storage, Tensor) or not whole or not len(size) == len(stride) <= _MAX_DIMENSIONS:
            raise ValueError("a tensor is described by something else than numbers")
        beyond = max((offset, *size, *stride)) > 1 << 62 or min((offset, *size, *stride)) < 0
        amount = 0 if beyond else prod(size)
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        # Strides of 0 could make many numbers of few, so a tensor has at most as many as its storage.
        if beyond or amount > len(storage) or (amount > 0 and last >= len(storage)):
            raise CheckpointError(
                f"{self._path}: a tensor of shape {str(tuple(size))[:200]} reaches beyond its {len(storage)} "
                "numbers; download the file again"
            )
        self._left_copied -= amount * storage.itemsize  # tensors that share a storage are few
        if self._left_copied < 0:
            raise self._unusual(f"its tensors take over {_MAX_COPIES} times the size of the file")
        return storage.as_strided(size, stride, offset).clone()

    def _record(self, name: str, limit: int) -> bytes:
        info = self._records.get(self._root + name)
        if info is None:
            raise CheckpointError(f"{self._path} lacks its record {name[:80]!r}; download the file again")
        self._left_stored -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit or self._left_stored < 0:
            raise self._unusual(
                f"record {name[:80]!r} holds {info.file_size} bytes, compressed, more than the {limit} that belong "
                "there, or more than the file has"
            )
        return self._file.read(info)

    def _unusual(self, found: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path}: {found}; PyTorch does not write such files, so it was not opened: download it again"
        )
