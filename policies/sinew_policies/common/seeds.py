"""Named random streams: one root seed, one independent child per name. Same seed, same result."""

import zlib

import numpy as np

from sinew_policies.common.errors import ConfigError


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Generator for the child stream `names` of `seed`; independent of creation order.

    Raises ConfigError as `checked`.
    """
    key = [zlib.crc32(str(n).encode()) for n in names]
    return np.random.default_rng(np.random.SeedSequence(entropy=checked(seed), spawn_key=key))


def checked(seed: int) -> int:
    """The seed itself. Raises ConfigError for one that is negative or that torch cannot take."""
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed is {seed}; expected 0 to 2^63 - 1")
    return seed
