"""Optimiser, learning-rate schedule, weight average and gradient exchange of the training loop."""

import math
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier

import torch
from torch import Tensor, nn

BARRIER_TIMEOUT_S = 300.0


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


class GradientMean:
    """Averages gradients over the processes of one machine through shared memory; no sockets.

    All processes must call `exchange` in the same step; they leave with equal gradients and equal control.
    """

    def __init__(self, shared: Tensor, control: Tensor, barrier: Barrier, rank: int) -> None:
        self._shared = shared  # (processes, parameters) in shared memory
        self._control = control  # (2,) float64 in shared memory
        self._barrier = barrier
        self._rank = rank

    def exchange(self, parameters: list[nn.Parameter], control: StepControl) -> StepControl:
        """Replaces gradients by their mean; returns the first process's control.

        Raises BrokenBarrierError when another process died or did not arrive in time.
        """
        mine = self._shared[self._rank]
        offset = 0
        for p in parameters:
            n = p.numel()
            if p.grad is None:
                mine[offset : offset + n].zero_()
            else:
                mine[offset : offset + n].copy_(p.grad.flatten())
            offset += n
        if self._rank == 0:
            self._control[0], self._control[1] = control.progress, float(control.stop)
        self._barrier.wait(BARRIER_TIMEOUT_S)
        mean = self._shared.mean(0)
        progress, stop = self._control.tolist()
        self._barrier.wait(BARRIER_TIMEOUT_S)
        offset = 0
        for p in parameters:
            n = p.numel()
            p.grad = mean[offset : offset + n].view_as(p)
            offset += n
        return StepControl(progress, bool(stop))
