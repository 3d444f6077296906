"""Optimiser, learning rate, freezing, and the exchange between processes."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sinew_policies.common.errors import CheckpointError
from sinew_policies.common.training_processes import average, together
from sinew_policies.t3.network import T3
from sinew_policies.t3.train_config import TrainConfig


def make_optimiser(network: T3, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over everything that can be trained, the trunk first; all of it is decayed, as published.

    Gradients must be None where a part took no part in a step: then neither decay nor moments touch it.
    """
    trunk = [p for p in network.trunk.parameters() if p.requires_grad]
    inside = {id(p) for p in network.trunk.parameters()}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in inside]
    groups = [{"params": trunk, "lr": config.lr}, {"params": others, "lr": config.lr * config.other_lr_scale}]
    return torch.optim.AdamW(groups, lr=config.lr, eps=config.adam_eps, weight_decay=config.weight_decay)


def learning_rate(step: int, steps: int, base: float, floor: float) -> float:
    """Half a cosine from `base` at step 0 to `floor` at `steps`."""
    share = min(1.0, step / steps)
    return floor + (base - floor) * 0.5 * (1.0 + math.cos(math.pi * share))


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, config: TrainConfig) -> None:
    for group, scale in zip(optimiser.param_groups, (1.0, config.other_lr_scale), strict=True):
        group["lr"] = learning_rate(step, config.steps, config.lr * scale, config.lr_floor)


class Freezer:
    """Keeps encoders or the trunk as they are until a step. Fixed position tables stay fixed for good."""

    def __init__(self, network: T3, config: TrainConfig) -> None:
        parts: list[nn.Module] = []
        parts += [network.encoders] if config.freeze_encoder else []
        parts += [network.trunk] if config.freeze_trunk else []
        self._parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
        self._until = config.unfreeze_at

    def apply(self, step: int) -> None:
        free = self._until is not None and step >= self._until
        for parameter in self._parameters:
            parameter.requires_grad_(free)


@dataclass(frozen=True)
class Exchanged:
    loss: float  # mean over the processes
    stop: bool


def exchange(network: nn.Module, loss: Tensor, stop: bool) -> Exchanged:
    """Averages gradients and running statistics over the processes, and lets the first one stop all.

    All processes must have used the same parts in this step.
    """
    used = [p.grad for p in network.parameters() if p.grad is not None]
    used += [b for b in network.buffers() if b.is_floating_point()]
    control = torch.stack([loss.detach().float(), torch.tensor(float(stop), device=loss.device)])
    average([*used, control])
    return Exchanged(float(control[0]), float(control[1]) > 0.0)


def check_same_step(step: int, folder: Path) -> None:
    """Raises CheckpointError where the processes would go on from different steps."""
    if not together():
        return
    ends = torch.tensor([step, -step])
    dist.all_reduce(ends, dist.ReduceOp.MAX)
    last, first = int(ends[0]), -int(ends[1])
    if first != last:
        raise CheckpointError(
            f"the processes of this training would go on from steps {first} and {last}; {folder} must be one "
            "folder that all machines see"
        )
