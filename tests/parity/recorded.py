"""What the readers of all recorded cases share: where cases lie, arrays, and weights drawn by rule and checked."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]
Rule = Callable[[str, str, tuple[int, ...]], NDArray[np.generic]]  # of a tensor's name, kind and shape


def oracle_folder(system: str) -> Path:
    default = Path(__file__).parents[1] / "data" / "oracles"
    return Path(os.environ.get("SINEW_ORACLES", default)) / system


def recorded_files(folder: Path) -> list[Path]:
    """Everything that could be a recording, in subfolders, too."""
    return sorted(file for file in folder.rglob("*") if file.suffix in (".npz", ".json"))


def read_json(file: Path) -> dict:
    return json.loads(file.read_text())


@cache
def read_arrays(file: Path) -> Arrays:
    with np.load(file, allow_pickle=False) as data:
        return {k: data[k] for k in data.files}


@dataclass(frozen=True)
class Drawn:
    state: dict[str, torch.Tensor]
    sha256: str  # of the floating tensors in order of their names
    sha256_needed: str  # of those that a network cannot do without

    def check(self, wanted: dict) -> None:
        assert self.sha256 == wanted["sha256"]
        assert self.sha256_needed == wanted.get("sha256_needed", self.sha256_needed)
        for name, first in wanted.get("check", {}).items():
            np.testing.assert_allclose(self.state[name].flatten()[: len(first)], first, rtol=1e-6)


def draw(index: Mapping, rule: Rule, needed: Callable[[str], bool] = lambda name: True) -> Drawn:
    """Weights of an index {name: (kind, shape)}."""
    state, everything, some = {}, hashlib.sha256(), hashlib.sha256()
    for name, (kind, shape) in sorted(index.items()):
        value = rule(name, kind, tuple(shape))
        state[name] = torch.from_numpy(value)
        if kind.startswith("float"):
            content = value.astype("<f4", copy=False).tobytes()
            everything.update(content)
            if needed(name):
                some.update(content)
    return Drawn(state, everything.hexdigest(), some.hexdigest())


def fits(index: Mapping, wanted: dict) -> bool:
    """Whether count and elements, all or the floating ones, are those that were recorded."""
    sizes = [(kind, int(np.prod(shape))) for kind, shape in index.values()]
    floats = sum(n for kind, n in sizes if kind.startswith("float"))
    return len(index) == wanted["count"] and wanted["elements"] in (floats, sum(n for _, n in sizes))


def weights_for(
    wanted: dict, places: Iterable[Path], rule: Rule, needed: Callable[[str], bool] = lambda name: True
) -> dict[str, torch.Tensor]:
    """State dict of the index in one of the folders that reproduces count, elements, hashes and first values."""
    tried: list[Path] = []
    for path in (p for place in places for p in weights_indices(place)):
        tried.append(path)
        if fits(read_json(path), wanted):
            drawn = _draw_from(path, rule, needed)
            if drawn.sha256 == wanted["sha256"]:
                drawn.check(wanted)
                return drawn.state
    raise AssertionError(f"no index reproduces {wanted['count']} tensors, {wanted['elements']} numbers: {tried}")


def weights_indices(folder: Path) -> list[Path]:
    return sorted(folder.glob("weights_index*.json"))


@cache
def _draw_from(index_file: Path, rule: Rule, needed: Callable[[str], bool]) -> Drawn:
    return draw(read_json(index_file), rule, needed)
