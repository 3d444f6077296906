"""Vectors of which many lie close together."""

import numpy as np


def clustered(n: int, width: int, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(8, width))
    return (centres[draw.integers(0, 8, n)] + 0.4 * draw.normal(size=(n, width))).astype(np.float32)
