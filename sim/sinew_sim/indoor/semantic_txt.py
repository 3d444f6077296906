"""`<scene>.semantic.txt`: which colour of the semantic texture is which object instance."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sinew_policies.common.errors import DataError
from sinew_sim.indoor.bounded_file import MEBIBYTE, decode, read_bytes, write_bytes
from sinew_sim.indoor.json_fields import shown

HEADER = "HM3D Semantic Annotations"
UNKNOWN_ID = 0  # of every colour that no row names
_MAX_BYTES = 64 * MEBIBYTE
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Instance:
    id: int  # from 1; 0 is "unknown"
    rgb: tuple[int, int, int]  # 0..255, exact in the semantic texture
    category: str
    region: int


@dataclass(frozen=True, slots=True)
class SemanticScene:
    instances: tuple[Instance, ...]

    def categories(self) -> dict[str, int]:
        """Category -> number of instances, the most frequent first."""
        return dict(Counter(i.category for i in self.instances).most_common())

    def by_colour(self) -> dict[tuple[int, int, int], Instance]:
        """For texture look-ups; of instances that share a colour the first one."""
        table: dict[tuple[int, int, int], Instance] = {}
        for instance in self.instances:
            table.setdefault(instance.rgb, instance)
        return table

    def shared_colours(self) -> tuple[tuple[int, ...], ...]:
        """Ids of instances that no pixel can tell apart."""
        groups: dict[tuple[int, int, int], list[int]] = {}
        for instance in self.instances:
            groups.setdefault(instance.rgb, []).append(instance.id)
        return tuple(tuple(ids) for ids in groups.values() if len(ids) > 1)


def read_semantic(path: Path) -> SemanticScene:
    """Raises DataError naming file, line, value and what was expected."""
    lines = decode(read_bytes(path, max_bytes=_MAX_BYTES), path).splitlines()
    if not lines or HEADER not in lines[0]:
        first = shown(lines[0]) if lines else "an empty file"
        raise DataError(f"{path}: the first line is {first}; expected '{HEADER}': this is no semantic.txt of HM3D")
    instances: list[Instance] = []
    seen: dict[int, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        instance = _row(line, f"{path}: line {number}")
        if instance.id in seen:
            raise DataError(
                f"{path}: line {number}: id {instance.id} stands in line {seen[instance.id]} already; "
                "ids must differ: fetch the file again"
            )
        seen[instance.id] = number
        instances.append(instance)
    return SemanticScene(tuple(instances))


def write_semantic(scene: SemanticScene, path: Path) -> None:
    """Writes the whole file or nothing. Raises DataError for what the format cannot hold."""
    rows = []
    for i in scene.instances:
        if not 0 < i.id <= _MAX_ID or i.region < 0 or any(not 0 <= c <= 255 for c in i.rgb):
            raise DataError(f"{path}: {i}: expected an id from 1, colours 0..255 and a region from 0")
        if any(c in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" for c in i.category):
            raise DataError(f"{path}: category {shown(i.category)} of instance {i.id} has a line break; remove it")
        red, green, blue = i.rgb
        rows.append(f'{i.id},{red:02X}{green:02X}{blue:02X},"{i.category}",{i.region}\n')
    write_bytes(path, "".join([f"{HEADER}\n", *rows]).encode())


def _row(line: str, where: str) -> Instance:
    """`12,A0B1C2,"dining chair",3`. The category may hold commas and quotes: it is what the outer ones enclose."""
    head, _, rest = line.partition(",")
    colour, _, rest = rest.partition(",")
    quoted, comma, region = rest.rpartition(",")
    quoted = quoted.strip()
    if not comma or len(quoted) < 2 or quoted[0] != '"' or quoted[-1] != '"':
        raise DataError(f'{where} is {shown(line)}; expected id,RRGGBB,"category",region')
    return Instance(
        id=_whole(head, where, "id", least=1),
        rgb=_colour(colour.strip(), where),
        category=quoted[1:-1],
        region=_whole(region, where, "region", least=0),
    )


def _whole(text: str, where: str, name: str, *, least: int) -> int:
    digits = text.strip()
    # isdecimal alone would take digits of other scripts.
    value = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 10 else -1
    if not least <= value <= _MAX_ID:
        raise DataError(f"{where}: {name} is {shown(text)}; expected a whole number from {least}")
    return value


def _colour(text: str, where: str) -> tuple[int, int, int]:
    if len(text) != 6 or any(c not in "0123456789abcdefABCDEF" for c in text):
        raise DataError(f"{where}: colour is {shown(text)}; expected six hexadecimal digits such as A0B1C2")
    red, green, blue = bytes.fromhex(text)
    return red, green, blue
