"""Reads the tensors of a PyTorch zip file, `torch.save` or TorchScript, without running anything in it.

Such a file is a pickle beside raw numbers. Published policies carry their training configuration as pickled
objects, and OpenAI's CLIP is a TorchScript program, so that torch's restricted loader refuses both and torch's
other loaders would execute them. Here every name in the pickle becomes an inert container, except for the one
recipe that says how numbers form a tensor; the program code in a TorchScript file is never looked at.
"""

import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sinew_policies.common.errors import CheckpointError

_DTYPES = {
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
_MAX_PICKLE_BYTES = 256 << 20  # structure only: numbers lie outside it
_REMEMBER = ("PUT", "BINPUT", "LONG_BINPUT")
_MAX_OPCODES = 2_000_000
_MAX_COPIES = 4  # bytes of tensors for each byte of the file
_MAX_DEPTH = 64
_MAX_ENTRIES = 100_000  # on all ways to them: containers that share children multiply them


class Inert(dict[object, object]):
    """Stands for an object of any class: keeps entries and attributes, ignores everything else it is given."""

    origin = ""  # "module.name" of the class it stands for

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __new__(cls, *_: object, **__: object) -> "Inert":
        return super().__new__(cls)

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({k: v for k, v in state.items() if isinstance(k, str)})

    def __call__(self, *_: object, **__: object) -> "Inert":
        return Inert()

    def append(self, _: object) -> None: ...

    def extend(self, _: object) -> None: ...

    def add(self, _: object) -> None: ...


def is_archive(path: Path) -> bool:
    return path.is_file() and zipfile.is_zipfile(path)


def read_archive(path: Path) -> object:
    """What was saved: plain containers, and an `Inert` for every other object; `tensors_of` finds the tensors.

    Raises CheckpointError where the file is damaged, compressed, or not in this format.
    """
    try:
        with zipfile.ZipFile(path) as file:
            return _Reader(file, path).read()
    except CheckpointError:
        raise
    except Exception as fault:  # a damaged or hostile pickle can raise anything
        raise CheckpointError(
            f"{path} is not a readable PyTorch file ({type(fault).__name__}: {fault}); download it again"
        ) from fault


def tensors_of(root: object) -> dict[str, Tensor]:
    """Tensors below `root` by dotted name: entries of containers and attributes of objects.

    Raises CheckpointError where they nest deeper, or hold more entries, than a network does.
    """
    return dict(_walk(root, "", set(), 0, count()))


def _walk(
    node: object, name: str, above: set[int], depth: int, entries: Iterator[int]
) -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, _Held | Tensor):
        yield name, node.tensor if isinstance(node, _Held) else node
        return
    if not isinstance(node, Mapping) or id(node) in above:
        return
    if depth > _MAX_DEPTH:
        raise CheckpointError(f"'{name[:80]}…' nests deeper than {_MAX_DEPTH} levels; this is not a network's file")
    children: dict[Any, object] = {**node, **(vars(node) if isinstance(node, Inert) else {})}
    for key, child in children.items():
        if next(entries) >= _MAX_ENTRIES:
            raise CheckpointError(
                f"'{name[:80]}…' is one of over {_MAX_ENTRIES} entries; this is not a network's file"
            )
        if isinstance(key, str):
            yield from _walk(child, f"{name}.{key}" if name else key, above | {id(node)}, depth + 1, entries)


class _Held:
    """A tensor that a pickle can hand on but not alter."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __setstate__(self, _: object) -> None: ...


class _Reader:
    def __init__(self, file: zipfile.ZipFile, path: Path) -> None:
        self.file, self.path = file, path
        self.records = {i.filename: i for i in file.infolist()}
        self.storages: dict[str, Tensor] = {}
        self.left_bytes = _MAX_COPIES * path.stat().st_size
        pickles = [n for n in self.records if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError(
                f"{path} is a zip file without PyTorch's data.pkl; give the .pt or .pth file as it was published"
            )
        self.pickle_name = pickles[0]
        self.root = self.pickle_name.removesuffix("data.pkl")

    def spend(self, n_bytes: int) -> None:
        """Counts the copies that tensors are of their storages; tensors that share one are few."""
        self.left_bytes -= n_bytes
        if self.left_bytes < 0:
            raise CheckpointError(
                f"{self.path}: its tensors take over {_MAX_COPIES} times the size of the file; PyTorch does not "
                "write such files, so it was not opened"
            )

    def read(self) -> object:
        content = self._record(self.pickle_name, _MAX_PICKLE_BYTES)
        self._check_memo(content)
        return _unpickler(BytesIO(content), self).load()

    def storage(self, dtype: torch.dtype, key: str, count: int) -> Tensor:
        """`count` numbers of the record `data/<key>`, as they lie in the file."""
        if key not in self.storages:
            n_bytes = count * dtype.itemsize
            content = self._record(f"{self.root}data/{key}", n_bytes)
            if len(content) != n_bytes:
                raise CheckpointError(
                    f"{self.path}: record data/{key} has {len(content)} bytes, its {count} numbers need {n_bytes}; "
                    "download the file again"
                )
            self.storages[key] = (
                torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
        stored = self.storages[key]
        return stored if stored.dtype == dtype else stored.view(dtype)

    def _check_memo(self, content: bytes) -> None:
        """Python's unpickler reserves memory up to the highest number under which an object is to be remembered;
        whoever writes a pickle counts them up, so that none is above the number of its opcodes."""
        for at, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if at >= _MAX_OPCODES or (opcode.name in _REMEMBER and int(argument or 0) > at):
                raise CheckpointError(
                    f"{self.path}: {self.pickle_name} has more than {_MAX_OPCODES} instructions or remembers an "
                    f"object out of turn (instruction {at}: {opcode.name} {argument!s:.40}); PyTorch does not "
                    "write such files, so it was not opened"
                )

    def _record(self, name: str, limit: int) -> bytes:
        info = self.records.get(name)
        if info is None:
            raise CheckpointError(f"{self.path} lacks its record '{name}'; download the file again")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
            raise CheckpointError(
                f"{self.path}: record '{name}' holds {info.file_size} bytes, compressed or more than the {limit} "
                "that belong there; PyTorch does not write such files, so it was not opened"
            )
        return self.file.read(info)


def _unpickler(stream: BytesIO, reader: _Reader) -> pickle.Unpickler:
    """Everything that a pickle can name is made here anew, so that it cannot alter anything beyond itself."""
    made: dict[str, object] = {}

    def tensor(held: _Held, offset: int, size: Any, stride: Any, *_: object) -> _Held:
        storage = held.tensor
        shape: tuple[int, ...] = tuple(int(s) for s in size)
        steps: tuple[int, ...] = tuple(int(s) for s in stride)
        last = offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        # Strides of 0 could make many numbers of few, so a tensor has at most as many as its storage.
        amount = prod(shape)
        if min((offset, *shape, *steps)) < 0 or amount > len(storage) or (amount > 0 and last >= len(storage)):
            raise CheckpointError(
                f"{reader.path}: a tensor of shape {shape} reaches beyond its {len(storage)} numbers; "
                "download the file again"
            )
        reader.spend(amount * storage.itemsize)
        return _Held(storage.as_strided(shape, steps, offset).clone())

    def parameter(data: _Held, *_: object) -> _Held:
        return data

    recipes = {"torch._utils._rebuild_tensor_v2": tensor, "torch._utils._rebuild_parameter": parameter}

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            full = f"{module}.{name}"
            if full in recipes:
                return recipes[full]
            if full not in made:
                made[full] = type("Inert", (Inert,), {"origin": full})
            return made[full]

        def persistent_load(self, pid: Any) -> _Held:
            kind, storage, key, _, count = pid
            dtype = _DTYPES.get(getattr(storage, "origin", ""))
            if kind != "storage" or dtype is None or not isinstance(key, str):
                found = getattr(storage, "origin", type(storage).__name__)  # the text of objects may be endless
                raise CheckpointError(
                    f"{reader.path} refers to numbers of type {found} by a {type(key).__name__}; expected one of "
                    f"{', '.join(_DTYPES)} by a text"
                )
            return _Held(reader.storage(dtype, key, int(count)))

    return Restricted(stream)
