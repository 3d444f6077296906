"""Where tensors are computed."""

import torch

from sinew_policies.common.errors import ConfigError, name_hint

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str, processes: int = 1) -> torch.device:
    """`auto` takes a GPU where there is one.

    Raises ConfigError for an unknown name, for cuda where there is none, and where `processes` that train together
    on this machine would have to share a GPU.
    """
    if name not in DEVICES:
        raise ConfigError(f"unknown device '{name}'; {name_hint(name, DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch finds no usable GPU; use 'auto' or 'cpu'")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise ConfigError(
            f"{processes} training processes on this machine need a GPU each, but torch finds {gpus}; start "
            f"at most {gpus}, or choose device 'cpu'"
        )
    return torch.device("cuda")


def training_device(name: str, number: int = 0) -> torch.device:
    """The device of training process `number` of this machine: its own GPU, or the CPU with one thread.

    Raises ConfigError as `choose_device`.
    """
    device = choose_device(name, number + 1)
    if device.type == "cpu":
        torch.set_num_threads(1)  # processes scale better, and threads spin when cores are shared
        return device
    torch.cuda.set_device(number)  # meant wherever no GPU is named, as in NCCL's set-up
    return torch.device("cuda", number)
