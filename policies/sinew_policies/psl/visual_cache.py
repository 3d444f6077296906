"""Keeps CLIP's image codes of poses seen before.

CLIP costs nine tenths of a step and its code depends on the frame alone. In a simulator the same pose gives the
same frame, so the pose can stand for it; a real camera never repeats a frame exactly, so there no key is given.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from sinew_policies.common.errors import ConfigError, DataError


class VisualCache:
    """Codes by pose key, the least recently used dropped first; `hits` and `misses` count lookups."""

    def __init__(self, capacity: int = 4096) -> None:
        """Raises ConfigError for a capacity below 1. 4096 codes of width 1024 are 16 MiB."""
        if capacity < 1:
            raise ConfigError(f"the visual cache holds {capacity} codes; expected at least 1")
        self.capacity = capacity
        self.hits = self.misses = 0
        self._codes: OrderedDict[Hashable, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, keys: Sequence[Hashable | None], frames: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Codes (B, code) of frames (B, H, W, 3); only frames of unknown keys are encoded, as one batch.

        A key must hold everything that the frame depends on (scene, position, heading, tilt). None is never kept.
        Raises DataError for a number of keys other than of frames.
        """
        if len(keys) != len(frames):
            raise DataError(f"there are {len(keys)} pose keys for {len(frames)} frames; give one each, or None")
        labels = [object() if key is None else key for key in keys]
        rows = {label: row for row, label in reversed([*enumerate(labels)]) if label not in self._codes}
        known = {label: self._codes[label] for label in labels if label not in rows}
        if rows:
            known |= zip(rows, encode(frames[list(rows.values())]), strict=True)
        self.misses += len(rows)
        self.hits += len(keys) - len(rows)
        for key in keys:
            if key is not None:
                self._keep(key, known[key])
        return torch.stack([known[label] for label in labels])

    def clear(self) -> None:
        """Forgets every code; needed when a scene changes without its keys changing."""
        self._codes.clear()

    def _keep(self, key: Hashable, code: Tensor) -> None:
        self._codes[key] = code
        self._codes.move_to_end(key)
        if len(self._codes) > self.capacity:
            self._codes.popitem(last=False)
