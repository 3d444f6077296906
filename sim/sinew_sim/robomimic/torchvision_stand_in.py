"""Lets robomimic be imported without torchvision: it needs that for images only, and no build fits a CPU torch.

To be installed in a process of its own, for whoever imports torchvision later would find it.
"""

import importlib.util
import sys
from types import ModuleType

from sinew_policies.common.errors import MissingExtra

_NAMES = ("torchvision", "torchvision.models", "torchvision.transforms", "torchvision.transforms.functional")


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unavailable


class _Unavailable:
    def __init__(self, *_: object, **__: object) -> None:
        raise MissingExtra("torchvision", "robomimic")


def install() -> None:
    """Does nothing where torchvision is installed."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    modules = {name: _StandIn(name) for name in _NAMES}
    for name, module in modules.items():
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    sys.modules.update(modules)
