"""What the processes of a training do in tests; importable, so that new processes find it."""

import os

import torch
from torch import nn

from sinew_policies.common.errors import DataError
from sinew_policies.common.training_processes import average, average_gradients


def means(rank: int) -> tuple[list[float], list[float]]:
    """Of a tensor, and of a gradient that only the last process has."""
    tensor, parameter = torch.tensor([float(rank), 1.0]), nn.Parameter(torch.zeros(1))
    if rank > 0:
        parameter.grad = torch.tensor([4.0])
    average([tensor])
    average_gradients([parameter])
    assert parameter.grad is not None
    return tensor.tolist(), parameter.grad.tolist()


def fail_at(rank: int, failing: int, how: str) -> None:
    average([torch.zeros(1)])
    if rank == failing:
        if how == "fault":
            raise DataError("shard 7 is torn")
        if how == "bug":
            raise RuntimeError("shapes differ")
        os._exit(9)
    average([torch.zeros(1)])


class Unimportable:
    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (3,)  # as soon as the new process reads it

    def __call__(self, rank: int) -> None:
        raise AssertionError
