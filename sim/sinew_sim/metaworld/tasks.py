"""Names of Meta-World's 50 tasks, written with or without the version suffix."""

from functools import cache

from sinew_policies.common.errors import ConfigError, name_hint

VERSION_SUFFIX = "-v3"


@cache
def task_names() -> tuple[str, ...]:
    """The 50 names without suffix, sorted."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    return tuple(sorted(name.removesuffix(VERSION_SUFFIX) for name in ALL_V3_ENVIRONMENTS))


def canonical(name: str) -> str:
    """The name without suffix: 'door-close' for 'door-close' and 'door-close-v3'.

    Raises ConfigError for anything that Meta-World does not have.
    """
    bare = name.strip().removesuffix(VERSION_SUFFIX)
    if bare not in task_names():
        raise ConfigError(f"'{name}' is not a Meta-World task; {name_hint(bare, task_names())}")
    return bare
