"""How every compiled kernel is built: numba, cached on disk where some folder is writable."""

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles `function` on its first call and keeps the machine code in numba's cache.

    No fastmath: additions stay in the written order and multiply-add is never fused, because chosen indices
    must not depend on the machine. The interpreter lock is released while a kernel runs.

    numba looks for a cache folder in NUMBA_CACHE_DIR, beside the source and in the user's cache; in a
    read-only installation without a home none is found, and the kernel is compiled once per process instead.
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)
