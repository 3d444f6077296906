"""Optimiser, learning-rate schedule and weight average of the training loop."""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from sinew_policies.common.training_processes import together


def make_optimiser(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; norms, biases and embeddings are not decayed."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in network.modules():
        kept = isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.Embedding)
        for name, parameter in module.named_parameters(recurse=False):
            (free if kept or name.endswith("bias") else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def lr_factor(step: int, progress: float, warm_up_steps: int) -> float:
    """Linear warm-up by steps, then half a cosine down to 2 % at progress 1."""
    warm = min(1.0, (step + 1) / max(1, warm_up_steps))
    return warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress)))))


class WeightAverage:
    """Exponential moving average of everything in a state dict; young averages forget faster."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        ours, theirs = [], []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                ours.append(self.state[name])
                theirs.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(ours, theirs, 1.0 - decay)


@dataclass(frozen=True)
class StepControl:
    """What the first process decides for all in every step."""

    progress: float  # of the schedule, 0..1
    stop: bool

    def of_first(self) -> "StepControl":
        """The first process's, where there are several."""
        if not together():
            return self
        values = torch.tensor([self.progress, self.stop], dtype=torch.float64)
        dist.broadcast(values, 0)
        return StepControl(float(values[0]), bool(values[1]))
