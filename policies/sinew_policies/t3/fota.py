"""FoTa shards: `<set>/{train,val}/{count.txt, data-000000.tar, …}`, each sample `<key>.jpg` and `<key>.json`.

The layout of the published tactile data; any webdataset reader takes what is written here. Reading never unpacks
an archive: members are found once, checked, and then read in place, in any order. Every fault of a shard is a
DataError that names the file and the member.
"""

import bisect
import io
import json
import math
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sinew_policies.common.errors import DataError
from sinew_policies.common.types import U8

COUNT_FILE = "count.txt"

_IMAGE_SUFFIXES = ("jpg", "jpeg", "png")
_LABEL_SUFFIX = "json"
_MAX_BYTES = {"json": 256 * 1024} | dict.fromkeys(_IMAGE_SUFFIXES, 16 * 1024 * 1024)
_MIN_SIDE_PX, _MAX_SIDE_PX = 32, 4096
_AGAIN = "copy the file again, or delete it together with its samples in count.txt"


@dataclass(frozen=True)
class Sample:
    key: str
    image: U8  # (H, W, 3) RGB
    labels: Mapping[str, object]  # fields of the JSON file


@dataclass(frozen=True)
class Shard:
    """Where the samples of one archive lie."""

    path: Path
    keys: tuple[str, ...]
    places: NDArray[np.int64]  # (N, 4) image offset, image bytes, label offset, label bytes; no label: 0, 0

    def __len__(self) -> int:
        return len(self.keys)


class Split:
    """One split of one set, read at random. Cheap to copy into other processes."""

    def __init__(self, folder: Path, shards: Sequence[Shard]) -> None:
        self.folder, self.shards = folder, tuple(shards)
        self._ends = np.cumsum([len(s) for s in shards]).tolist()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:
        shard, place = self._find(index)
        key = shard.keys[place]
        offset, size = shard.places[place, :2].tolist()
        return Sample(key, decode_image(_bytes_at(shard, key, offset, size), _name(shard, key)), self.labels(index))

    def labels(self, index: int) -> dict[str, object]:
        """The JSON fields alone, without decoding the image."""
        shard, place = self._find(index)
        offset, size = shard.places[place, 2:].tolist()
        key = shard.keys[place]
        return _decode_labels(_bytes_at(shard, key, offset, size), _name(shard, key)) if size else {}

    def name(self, index: int) -> str:
        """Shard and key of a sample, for messages."""
        shard, place = self._find(index)
        return _name(shard, shard.keys[place])

    def _find(self, index: int) -> tuple[Shard, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)} in {self.folder}")
        number = bisect.bisect_right(self._ends, index)
        return self.shards[number], index - (self._ends[number - 1] if number else 0)


def open_split(folder: Path) -> Split:
    """Finds and checks all samples of `<set>/train` or `<set>/val`.

    Raises DataError: no shards, a shard that is damaged or unsafe, or not as many samples as count.txt says.
    """
    paths = sorted(folder.glob("data-*.tar"))
    if not paths:
        raise DataError(
            f"{folder} holds no shards (data-000000.tar, …); give a set in FoTa's layout, or make one with "
            "`sinew datagen touch`"
        )
    count = read_count(folder)
    split = Split(folder, [index_shard(path) for path in paths])
    if not len(split) and not count:
        raise DataError(f"{folder} holds no samples; copy the set again, or make one with `sinew datagen touch`")
    if len(split) != count:
        raise DataError(
            f"{folder / COUNT_FILE} says {count} samples, but its {len(paths)} shards hold {len(split)}; copy the "
            "missing shards, or correct the number"
        )
    return split


def read_count(folder: Path) -> int:
    path = folder / COUNT_FILE
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(
            f"cannot read {path} ({fault}); it must hold the number of samples of this split"
        ) from fault
    if not text.isdecimal() or len(text) > 12:
        raise DataError(f"{path} holds {text[:40]!r}; expected one whole number, the samples of this split")
    return int(text)


def write_shard(folder: Path, number: int, samples: Iterable[Sample], *, quality: int = 95) -> Path:
    """`data-<number>.tar`, complete or not at all. Colours are stored at full resolution.

    Raises DataError for a key with a dot or a slash, a key that occurs twice, or an image of another form.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"data-{number:06d}.tar"
    partial = path.with_name(f".{path.name}.partial")
    seen: set[str] = set()
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive:
            for sample in samples:
                _check_sample(sample, seen)
                image = io.BytesIO()
                Image.fromarray(sample.image).save(image, "JPEG", quality=quality, subsampling=0)
                labels = json.dumps(dict(sample.labels), allow_nan=False).encode()
                for suffix, content in (("jpg", image.getvalue()), (_LABEL_SUFFIX, labels)):
                    member = tarfile.TarInfo(f"{sample.key}.{suffix}")
                    member.size, member.mode = len(content), 0o644
                    archive.addfile(member, io.BytesIO(content))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_count(folder: Path, count: int) -> None:
    """count.txt, written last: a split without it is not complete."""
    partial = folder / f".{COUNT_FILE}.partial"
    partial.write_text(f"{count}\n")
    partial.replace(folder / COUNT_FILE)


def key_of(name: str) -> str:
    """The key of a sample from a file name: no extension, dots become hyphens."""
    return PurePosixPath(name).stem.replace(".", "-")


def index_shard(path: Path) -> Shard:
    """Checks every member's header of one archive and notes where the samples lie."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    if not path.is_file():  # a pipe would keep us waiting
        raise DataError(f"shard {path} is not a regular file; copy the set again")
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as archive:  # never decompresses
            for member in archive:
                if member.isdir():
                    continue
                key, suffix = _check_member(path, member, size)
                parts = found.setdefault(key, {})
                kind = _LABEL_SUFFIX if suffix == _LABEL_SUFFIX else "image"
                if kind in parts:
                    raise DataError(f"shard {path} holds two members for the {kind} of {key!r}; write it again")
                parts[kind] = (member.offset_data, member.size)
            end = archive.offset
    except (OSError, tarfile.TarError, EOFError, ValueError, RecursionError) as fault:
        raise DataError(f"shard {path} is not a complete tar archive ({fault}); {_AGAIN}") from fault
    # tarfile takes a damaged header for the end; a real end is a block of zeros.
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
            last = next(reversed(found), "(none)")
            raise DataError(f"shard {path} is cut off or damaged after member {last!r} (byte {end}); {_AGAIN}")
    for key, parts in found.items():
        if "image" not in parts:
            raise DataError(f"shard {path}: {f'{key}.json'!r} has no image {f'{key}.jpg'!r}; {_AGAIN}")
    places = [(*p["image"], *p.get(_LABEL_SUFFIX, (0, 0))) for p in found.values()]
    return Shard(path, tuple(found), np.array(places, np.int64).reshape(-1, 4))


@contextmanager
def named_faults(name: str) -> Iterator[None]:
    """Puts shard and key of a sample before the message of a DataError."""
    try:
        yield
    except DataError as fault:
        raise DataError(f"{name}: {fault}") from fault


def decode_image(content: bytes, name: str) -> U8:
    """(H, W, 3) RGB from JPEG or PNG bytes; `name` is for messages."""
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        width, height = image.size  # known before anything is decoded
        if min(width, height) < _MIN_SIDE_PX or max(width, height) > _MAX_SIDE_PX:
            raise DataError(
                f"{name}: the image is {width}x{height}; expected sides of {_MIN_SIDE_PX} to {_MAX_SIDE_PX} pixels"
            )
        return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise DataError(f"{name}: the image cannot be read ({fault}); {_AGAIN}") from fault


def _check_member(path: Path, member: tarfile.TarInfo, archive_bytes: int) -> tuple[str, str]:
    """(key, suffix) of a member that is safe to read."""
    where = f"shard {path}, member {member.name[:120]!r}"
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts or "\\" in member.name or "\0" in member.name:
        raise DataError(f"{where}: the name leaves its folder; this shard is unsafe, do not unpack it")
    if not member.isreg() or member.sparse is not None:
        raise DataError(f"{where} is a link, device or sparse file; expected regular files only")
    folder, _, base = member.name.removeprefix("./").rpartition("/")
    stem, _, suffix = base.partition(".")
    suffix = suffix.lower()
    if suffix not in _MAX_BYTES or not stem:
        raise DataError(f"{where}: expected names such as 000042.jpg and 000042.json; remove it from the shard")
    if member.size > _MAX_BYTES[suffix]:
        raise DataError(f"{where} has {member.size} bytes; at most {_MAX_BYTES[suffix]} are accepted")
    if member.size <= 0 or member.offset_data + member.size > archive_bytes:
        raise DataError(f"{where} is empty or cut off; {_AGAIN}")
    return (f"{folder}/{stem}" if folder else stem), suffix


def _check_sample(sample: Sample, seen: set[str]) -> None:
    if not sample.key or "." in sample.key or "/" in sample.key:
        raise DataError(f"key {sample.key!r} has a dot or a slash or is empty; make it with key_of")
    if sample.key in seen:
        raise DataError(f"key {sample.key!r} occurs twice in one shard; keys must differ")
    seen.add(sample.key)
    if sample.image.dtype != np.uint8 or sample.image.ndim != 3 or sample.image.shape[2] != 3:
        raise DataError(
            f"{sample.key!r}: the image is {sample.image.dtype} of shape {sample.image.shape}; expected uint8 RGB "
            "of shape (height, width, 3)"
        )
    for name, value in sample.labels.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError(f"{sample.key!r}: label {name} is {value}; expected a finite number")


def _bytes_at(shard: Shard, key: str, offset: int, size: int) -> bytes:
    try:
        with shard.path.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), size, offset)
    except OSError as fault:
        raise DataError(f"{_name(shard, key)} cannot be read ({fault.strerror}); check the disk") from fault
    if len(content) != size:
        raise DataError(f"{_name(shard, key)} is cut off: the file became shorter; {_AGAIN}")
    return content


def _decode_labels(content: bytes, name: str) -> dict[str, object]:
    try:
        fields = json.loads(content, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as fault:
        raise DataError(f"{name}: the JSON file cannot be read ({fault}); {_AGAIN}") from fault
    if not isinstance(fields, dict):
        raise DataError(
            f"{name}: the JSON file holds a {type(fields).__name__}; expected an object of named fields"
        )
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a finite number")
    return number


def _name(shard: Shard, key: str) -> str:
    return f"shard {shard.path}, sample {key[:120]!r}"
