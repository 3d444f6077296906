"""How many processes a machine may be asked for: a slip of the finger should not bring it down."""

import os

from sinew_policies.common.errors import ConfigError

_PER_CORE = 8  # each takes some 300 MB and a core


def check_process_count(count: int) -> None:
    """Raises ConfigError for none, or more than eight for each core."""
    cores = os.cpu_count() or 1
    if not 1 <= count <= _PER_CORE * cores:
        raise ConfigError(
            f"asked for {count} processes on {cores} cores; expected 1 to {_PER_CORE * cores}, best one a core"
        )
