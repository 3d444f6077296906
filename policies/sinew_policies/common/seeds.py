"""Named random streams: one root seed, one independent child per name. Same seed, same result."""

import zlib

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Generator for the child stream `names` of `seed`; independent of creation order."""
    key = [zlib.crc32(str(n).encode()) for n in names]
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))
