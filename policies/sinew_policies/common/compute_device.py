"""Where tensors are computed."""

import torch

from sinew_policies.common.errors import ConfigError, name_hint

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> torch.device:
    """`auto` takes a GPU where there is one.

    Raises ConfigError for an unknown name and for cuda where there is none.
    """
    if name not in DEVICES:
        raise ConfigError(f"unknown device '{name}'; {name_hint(name, DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch finds no usable GPU; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def training_device(name: str) -> torch.device:
    """As `choose_device`; on the CPU this process then keeps to one thread."""
    device = choose_device(name)
    if device.type == "cpu":
        torch.set_num_threads(1)  # processes scale better, and threads spin when cores are shared
    return device
