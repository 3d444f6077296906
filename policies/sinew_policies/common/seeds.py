"""Named random streams: one root seed, one independent child per name. Same seed, same result."""

import zlib

import numpy as np

from sinew_policies.common.errors import ConfigError


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Generator for the child stream `names` of `seed`; independent of creation order.

    Raises ConfigError for a negative seed.
    """
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected 0 or more")
    key = [zlib.crc32(str(n).encode()) for n in names]
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))
