"""Decentralised distributed PPO: equal workers that average gradients, with no parameter server.

Every worker collects its own rollout; as soon as the fraction `sync_frac` of them has finished, the others stop
theirs early (preemption), so that one slow environment does not hold all. With preemption the figures depend on
timing; `sync_frac` 1 gives the same training every time. The count of finished rollouts is shared memory.
"""

from collections.abc import Mapping

import torch.distributed as dist
from torch import Tensor, nn

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.training_processes import average

MIN_ROLLOUT_FRACTION = 0.25  # a worker is not stopped before this part of its rollout


class Workers:
    """This process's place among the workers; alone without `finished`.

    `finished` (workers,) int64 lies in shared memory: the rollouts that each worker has finished.
    """

    def __init__(self, rank: int = 0, finished: Tensor | None = None, sync_frac: float = 1.0) -> None:
        if not 0.0 < sync_frac <= 1.0:
            raise ConfigError(f"sync_frac is {sync_frac}; expected above 0 and at most 1 (1 = never preempt)")
        self.rank, self.size = rank, 1 if finished is None else len(finished)
        self._finished, self._sync_frac = finished, sync_frac

    def broadcast(self, network: nn.Module) -> None:
        """Everybody gets the first worker's parameters and buffers."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def average_buffers(self, network: nn.Module) -> None:
        """Replaces statistics kept in buffers, such as input means, by their mean over the workers."""
        average([b for b in network.buffers() if b.is_floating_point()])

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
        if self._finished is None or self._sync_frac == 1.0 or done < MIN_ROLLOUT_FRACTION * planned:
            return False
        arrived = int((self._finished > rollout).sum())
        return arrived >= self._sync_frac * self.size

    def finish(self, rollout: int) -> None:
        """Says that this worker's rollout number `rollout` is complete."""
        if self._finished is not None:
            self._finished[self.rank] = rollout + 1
