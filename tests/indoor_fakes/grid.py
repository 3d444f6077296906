"""Maps of square cells: as navigation meshes, and with an exact shortest-path oracle that knows no meshes."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

Free = NDArray[np.bool_]  # (rows along z, columns along x), one metre a cell


def random_map(rng: np.random.Generator, rows: int, columns: int, share_free: float = 0.65) -> Free:
    """Without cells that touch at a corner only: whether one fits through there is a matter of taste."""
    free: Free = rng.random((rows, columns)) < share_free
    while True:
        square = np.lib.stride_tricks.sliding_window_view(free, (2, 2))
        a, b, c, d = square[..., 0, 0], square[..., 0, 1], square[..., 1, 0], square[..., 1, 1]
        touching = np.argwhere((a == d) & (b == c) & (a != b))
        if len(touching) == 0:
            return free
        for i, j in touching:
            free[i : i + 2, j : j + 2] = True


def mesh_of(free: Free, height_m: float = 0.0) -> tuple[NDArray[np.float64], list[tuple[int, ...]]]:
    """Vertices and one square polygon per free cell."""
    rows, columns = free.shape
    vertices = np.array([(j, height_m, i) for i in range(rows + 1) for j in range(columns + 1)], np.float64)
    width = columns + 1
    return vertices, [
        (int(i * width + j), int(i * width + j + 1), int((i + 1) * width + j + 1), int((i + 1) * width + j))
        for i, j in np.argwhere(free)
    ]


def exact_distance(free: Free, start: NDArray[np.float64], goal: NDArray[np.float64]) -> float:
    """Dijkstra over the visibility graph of start, goal and the obstacles' corners; points are (x, z)."""
    if np.allclose(start, goal):
        return 0.0
    padded = np.pad(free, 1)
    corners = [
        np.array([j, i], np.float64)
        for i in range(free.shape[0] + 1)
        for j in range(free.shape[1] + 1)
        if padded[i : i + 2, j : j + 2].sum() == 3
    ]
    places = [start, goal, *corners]
    boxes = _walls(free)
    lengths = np.zeros((len(places), len(places)))
    for a in range(len(places)):
        for b in range(a):
            if _sees(places[a], places[b], boxes):
                lengths[a, b] = np.linalg.norm(places[a] - places[b])
    return float(dijkstra(lengths, directed=False, indices=np.array([0]))[0, 1])


def _walls(free: Free) -> NDArray[np.float64]:
    """(x0, x1, z0, z1) of blocked cells, and of neighbours as one, so that no ray slips in between."""
    blocked = np.pad(~free, 1, constant_values=True)
    boxes = []
    for i, j in np.argwhere(blocked):
        boxes.append((j - 1, j, i - 1, i))
        if j + 1 < blocked.shape[1] and blocked[i, j + 1]:
            boxes.append((j - 1, j + 1, i - 1, i))
        if i + 1 < blocked.shape[0] and blocked[i + 1, j]:
            boxes.append((j - 1, j, i - 1, i + 1))
    return np.array(boxes, np.float64)


def _sees(a: NDArray[np.float64], b: NDArray[np.float64], boxes: NDArray[np.float64]) -> bool:
    """Whether the segment touches the inside of no box: clipped against both slabs of each."""
    low, high = np.zeros(len(boxes)), np.ones(len(boxes))
    inside = np.ones(len(boxes), bool)
    for axis in range(2):
        near, far = boxes[:, 2 * axis] + 1e-7, boxes[:, 2 * axis + 1] - 1e-7
        step = b[axis] - a[axis]
        if abs(step) < 1e-12:
            inside &= (near < a[axis]) & (a[axis] < far)
        else:
            enter, leave = (near - a[axis]) / step, (far - a[axis]) / step
            low = np.maximum(low, np.minimum(enter, leave))
            high = np.minimum(high, np.maximum(enter, leave))
    return not (inside & (low < high)).any()
