"""JSON from strangers: every access checks the type, and a fault names file, field and value."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from sinew_policies.common.errors import DataError, name_hint
from sinew_sim.indoor.bounded_file import MEBIBYTE, decode, read_bytes

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]  # xyzw

MAX_BYTES = 512 * MEBIBYTE
MAX_VALUES = 15_000_000  # of 60 to 110 bytes each once parsed: a small file can ask for a lot of memory
_T = TypeVar("_T")


class JsonField:
    """One value and where it stands. The path is only put together when there is something to complain about."""

    __slots__ = ("_key", "_parent", "file", "value")

    def __init__(self, value: Json, file: Path, parent: "JsonField | None" = None, key: str | int = "") -> None:
        self.value = value
        self.file = file
        self._parent = parent
        self._key = key

    @property
    def where(self) -> str:
        """E.g. `episodes[3].goals[0].position`; the empty string for the whole file."""
        if self._parent is None:
            return ""
        if isinstance(self._key, int):
            return f"{self._parent.where}[{self._key}]"
        key = self._key if self._key.isidentifier() else f"[{shown(self._key)}]"
        separator = "." if self._parent.where and not key.startswith("[") else ""
        return f"{self._parent.where}{separator}{key}"

    def fault(self, expected: str) -> DataError:
        where = self.where or "the whole file"
        return DataError(f"{self.file}: {where} is {shown(self.value)}; expected {expected}; fetch or fix the file")

    def at(self, key: str) -> "JsonField":
        """The member `key` of an object. Raises DataError where it is missing."""
        members = self._object()
        if key not in members:
            where = self.where or "the file"
            raise DataError(f"{self.file}: {where} has no field '{key}'; {_hint(key, members)}")
        return JsonField(members[key], self.file, self, key)

    def get(self, key: str) -> "JsonField | None":
        """The member `key`, None where it is missing or null."""
        value = self._object().get(key)
        return None if value is None else JsonField(value, self.file, self, key)

    def members(self) -> Iterator[tuple[str, "JsonField"]]:
        for key, value in self._object().items():
            yield key, JsonField(value, self.file, self, key)

    def elements(self) -> Iterator["JsonField"]:
        if not isinstance(self.value, list):
            raise self.fault("a list")
        for index, value in enumerate(self.value):
            yield JsonField(value, self.file, self, index)

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fault("text")
        return self.value

    def label(self) -> str | int:
        """A name or a whole number: data sets write object ids in either way."""
        if isinstance(self.value, str):
            return self.value
        return self.integer()

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.fault("true or false")
        return self.value

    def integer(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.fault("a whole number")
        return self.value

    def number(self) -> float:
        """A finite number."""
        value = _float(self.value)
        if value is None or not math.isfinite(value):
            raise self.fault("a finite number")
        return value

    def distance(self) -> float:
        """A number that may be infinite: a place that cannot be reached."""
        value = _float(self.value)
        if value is None or math.isnan(value):
            raise self.fault("a number")
        return value

    def vec3(self) -> Vec3:
        x, y, z = self._numbers(3)
        return x, y, z

    def quaternion(self) -> Quat:
        """Unit quaternion xyzw."""
        x, y, z, w = self._numbers(4)
        if not abs(math.sqrt(x * x + y * y + z * z + w * w) - 1.0) < 1e-3:
            raise self.fault("a unit quaternion [x, y, z, w]")
        return x, y, z, w

    def rest(self, known: frozenset[str]) -> str:
        """The members outside `known` as canonical JSON text, '' where there is none: carried, not understood."""
        others = {key: value for key, value in self._object().items() if key not in known}
        return json.dumps(others, sort_keys=True) if others else ""

    def _object(self) -> dict[str, Json]:
        if not isinstance(self.value, dict):
            raise self.fault("an object with named fields")
        return self.value

    def _numbers(self, n: int) -> list[float]:
        if isinstance(self.value, list) and len(self.value) == n:
            numbers = [_float(v) for v in self.value]
            finite = [v for v in numbers if v is not None and math.isfinite(v)]
            if len(finite) == n:
                return finite
        raise self.fault(f"a list of {n} finite numbers")


def read_json(path: Path, *, max_bytes: int = MAX_BYTES, max_values: int = MAX_VALUES) -> JsonField:
    """A JSON file, gzip or plain. Raises DataError where it is damaged, too large or no JSON."""
    data = read_bytes(path, max_bytes=max_bytes)
    # Every value but the first follows one of these marks; marks inside of text only raise the bound.
    values = 1 + sum(data.count(mark) for mark in (b"[", b"{", b","))
    if values > max_values:
        raise DataError(
            f"{path} holds up to {values} JSON values, too many for memory; expected at most {max_values}: "
            "fetch it again, or raise max_values if you trust where it came from"
        )
    text = decode(data, path)
    try:
        return JsonField(json.loads(text), path)
    except RecursionError as fault:
        raise DataError(f"{path} nests JSON too deeply; it is no file of a data set: fetch it again") from fault
    except ValueError as fault:
        raise DataError(f"{path} is not JSON ({fault}); it is damaged or cut short: fetch it again") from fault


def shown(value: object, limit: int = 80) -> str:
    """A value as it can stand in a message: printable and short."""
    if isinstance(value, list) and len(value) <= 4 and not any(isinstance(v, dict | list) for v in value):
        return f"[{', '.join(shown(v, limit // 4) for v in value)}]"
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a whole number of more than 30 digits"
    return _short(repr(value[: limit + 1] if isinstance(value, str) else value), limit)


def printable(text: str) -> str:
    """A name from a file with everything escaped that could steer a terminal or cannot be printed at all."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def optional(field: JsonField | None, read: Callable[[JsonField], _T]) -> _T | None:
    """`read(field)`, None where there is no such field."""
    return None if field is None else read(field)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _float(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _hint(key: str, members: dict[str, Json]) -> str:
    names = list(members)
    if len(names) > 30:
        return f"it has {len(names)} others, such as {', '.join(shown(n, 40) for n in names[:5])}"
    return name_hint(key, [printable(n)[:60] for n in names])
