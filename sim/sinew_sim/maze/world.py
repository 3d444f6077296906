"""Generated mazes: square cells with walls between them and coloured landmarks in their corners.

Frame as in Habitat, seen from above: x to the right, z towards the viewer, yaw about the upward y axis, so that
an agent of yaw 0 looks along -z and a positive turn goes left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64

PALETTE = np.array(  # landmark colours, RGB 0..1
    [[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.9], [0.9, 0.8, 0.1], [0.8, 0.1, 0.8], [0.1, 0.8, 0.8]]
)
PALETTE_NAMES = ("red", "green", "blue", "yellow", "magenta", "cyan")


@dataclass(frozen=True)
class MazeConfig:
    cells: int = 2  # per side
    cell_m: float = 1.8
    wall_m: float = 0.1  # thickness
    landmarks: int = 3  # of different colours, in different cells
    landmark_m: float = 0.4  # side
    open_walls: float = 0.0  # fraction of the walls not needed for a maze without loops that is left out

    def __post_init__(self) -> None:
        if not 2 <= self.cells <= 64:
            raise ConfigError(f"cells is {self.cells}; expected 2 to 64 per side")
        if not 1 <= self.landmarks <= min(len(PALETTE), self.cells**2):
            raise ConfigError(
                f"landmarks is {self.landmarks}; expected 1 to {min(len(PALETTE), self.cells**2)}: one colour and "
                "one cell each"
            )
        if not 0.0 <= self.open_walls <= 1.0:
            raise ConfigError(f"open_walls is {self.open_walls}; expected 0 to 1")
        if not (self.wall_m > 0.0 and self.landmark_m > 0.0 and self.wall_m + self.landmark_m + 0.7 <= self.cell_m):
            raise ConfigError(
                f"wall_m {self.wall_m} and landmark_m {self.landmark_m} leave no way through a cell of "
                f"{self.cell_m} m; expected positive sizes with 0.7 m to spare"
            )

    @property
    def size_m(self) -> float:
        return self.cells * self.cell_m


@dataclass(frozen=True)
class MazeWorld:
    boxes: F64  # (B, 4) x low, z low, x high, z high in metres: outer walls, inner walls, landmarks
    colours: F64  # (B, 3) RGB 0..1
    landmarks: NDArray[np.int64]  # (L,) their rows in `boxes`
    landmark_colours: NDArray[np.int64]  # (L,) rows of PALETTE
    size_m: float


def make_world(config: MazeConfig, seed: int, index: int) -> MazeWorld:
    """World number `index` of `seed`."""
    draw = stream(seed, "maze", index)
    n, c, half = config.cells, config.cell_m, 0.5 * config.wall_m
    boxes, colours = [], []
    size = config.size_m
    for outer in (
        (-half, -half, size + half, half),
        (-half, size - half, size + half, size + half),
        (-half, -half, half, size + half),
        (size - half, -half, size + half, size + half),
    ):
        boxes.append(outer)
        colours.append([0.35, 0.35, 0.35])
    passages = _spanning_tree(n, draw)
    for a, b in _sides(n):
        if (a, b) in passages or draw.random() < config.open_walls:
            continue
        x, z = c * max(a[0], b[0]), c * max(a[1], b[1])  # the corner where the two cells' common side begins
        if a[0] != b[0]:
            boxes.append((x - half, z - half, x + half, z + c + half))
        else:
            boxes.append((x - half, z - half, x + c + half, z + half))
        colours.append(list(0.5 + 0.15 * (draw.random(3) - 0.5)))
    cells = draw.permutation(n * n)[: config.landmarks]
    names = draw.permutation(len(PALETTE))[: config.landmarks]
    first = len(boxes)
    for cell, name in zip(cells, names, strict=True):
        low = np.array([cell % n, cell // n]) * c + half
        room = c - config.wall_m - config.landmark_m
        corner = low + room * draw.integers(0, 2, 2)
        boxes.append((*corner, *(corner + config.landmark_m)))
        colours.append(list(PALETTE[name]))
    return MazeWorld(
        np.array(boxes, np.float64),
        np.array(colours, np.float64),
        np.arange(first, len(boxes)),
        names.astype(np.int64),
        size,
    )


Cell = tuple[int, int]


def _sides(n: int) -> list[tuple[Cell, Cell]]:
    """Pairs of neighbouring cells, the lower one first."""
    right = [((x, z), (x + 1, z)) for x in range(n - 1) for z in range(n)]
    return right + [((x, z), (x, z + 1)) for x in range(n) for z in range(n - 1)]


def _spanning_tree(n: int, draw: np.random.Generator) -> set[tuple[Cell, Cell]]:
    """Passages that connect all cells without a loop, by a random walk that turns back at dead ends."""
    passages, seen, path = set(), {(0, 0)}, [(0, 0)]
    while path:
        x, z = path[-1]
        ways = [(x + dx, z + dz) for dx, dz in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        ways = [w for w in ways if 0 <= w[0] < n and 0 <= w[1] < n and w not in seen]
        if not ways:
            path.pop()
            continue
        chosen = ways[draw.integers(len(ways))]
        passages.add((min((x, z), chosen), max((x, z), chosen)))
        seen.add(chosen)
        path.append(chosen)
    return passages
