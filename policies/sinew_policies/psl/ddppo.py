"""Decentralised distributed PPO: equal workers that average gradients, with no parameter server.

Every worker collects its own rollout; as soon as the fraction `sync_frac` of them has finished, the others stop
theirs early (preemption), so that one slow environment does not hold all. With preemption the figures depend on
timing; `sync_frac` 1 gives the same training every time. Averages are sums through torch.distributed's gloo
backend on this machine's loopback; rendezvous is a file and the count of finished rollouts is shared memory, so
nothing listens to the network.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sinew_policies.common.errors import ConfigError

TIMEOUT = timedelta(minutes=10)
MIN_ROLLOUT_FRACTION = 0.25  # a worker is not stopped before this part of its rollout


@dataclass(frozen=True)
class Links:
    """What the workers of one training share."""

    rendezvous: Path  # file that does not exist yet
    finished: Tensor  # (workers,) int64 in shared memory: rollouts finished by each
    size: int


class Workers:
    """This process's place among the workers; alone without `links`."""

    def __init__(self, rank: int = 0, links: Links | None = None, sync_frac: float = 1.0) -> None:
        if not 0.0 < sync_frac <= 1.0:
            raise ConfigError(f"sync_frac is {sync_frac}; expected above 0 and at most 1 (1 = never preempt)")
        self.rank, self.size = rank, 1 if links is None else links.size
        self._links, self._sync_frac = links, sync_frac
        if links is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            dist.init_process_group(
                "gloo", init_method=f"file://{links.rendezvous}", rank=rank, world_size=links.size, timeout=TIMEOUT
            )

    def close(self) -> None:
        if self._links is not None and dist.is_initialized():
            dist.destroy_process_group()

    def broadcast(self, network: nn.Module) -> None:
        """Everybody gets the first worker's parameters and buffers."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replaces the gradients by their mean over the workers."""
        if self.size == 1:
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        dist.all_reduce(flat)
        flat /= self.size
        offset = 0
        for p in parameters:
            p.grad = flat[offset : offset + p.numel()].view_as(p)
            offset += p.numel()

    def average_buffers(self, network: nn.Module) -> None:
        """Replaces statistics kept in buffers, such as input means, by their mean over the workers."""
        if self.size > 1:
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.size

    def total(self, values: Tensor) -> Tensor:
        """Sum over the workers."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gather(self, tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Everybody's tensors at the first worker, in order of rank; empty at the others."""
        mine = dict(tensors)
        if self.size == 1:
            return [mine]
        gathered: list[dict[str, Tensor] | None] = [None] * self.size
        dist.gather_object(mine, gathered if self.rank == 0 else None, 0)
        return [g for g in gathered if g is not None]

    def preempted(self, rollout: int, done: int, planned: int) -> bool:
        """Whether to end rollout number `rollout` after `done` of `planned` steps, because others wait."""
        if self._links is None or self._sync_frac == 1.0 or done < MIN_ROLLOUT_FRACTION * planned:
            return False
        arrived = int((self._links.finished > rollout).sum())
        return arrived >= self._sync_frac * self.size

    def finish(self, rollout: int) -> None:
        """Says that this worker's rollout number `rollout` is complete."""
        if self._links is not None:
            self._links.finished[self.rank] = rollout + 1
