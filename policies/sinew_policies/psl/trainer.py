"""The PPO and DD-PPO training loop: one worker of possibly several."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from sinew_policies.common import checkpoint
from sinew_policies.common.compute_device import training_device
from sinew_policies.common.config import to_yaml
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import checked
from sinew_policies.common.training_processes import average_gradients
from sinew_policies.common.training_run import interrupts, progress, resume, save_state
from sinew_policies.psl.actor_critic import ActorCritic
from sinew_policies.psl.ddppo import Workers
from sinew_policies.psl.environment import VectorEnvironment
from sinew_policies.psl.metrics import SUCCESS_DISTANCE_M, spl, success
from sinew_policies.psl.ppo import PPO, PPOConfig, UpdateStats
from sinew_policies.psl.rollout import Collector, Rollout

METRICS_FILE = "metrics.json"
WEIGHTS_FOLDER = "weights"

_RECENT = 10  # updates in the figures of the progress bar

MakeEnvironment = Callable[[int], VectorEnvironment]  # of the worker's rank
MakeNetwork = Callable[[], ActorCritic]


@dataclass(frozen=True)
class TrainConfig:
    out: Path
    updates: int
    seed: int = 0
    processes: int = 1
    sync_frac: float = 0.6  # of the workers after which the others end their rollouts; 1 = never
    ppo: PPOConfig = field(default_factory=PPOConfig)
    success_distance_m: float = SUCCESS_DISTANCE_M  # of the figures, not of the reward
    checkpoint_every: int = 50  # updates
    device: str = "cpu"
    environment: str = ""  # what else decides a training, in words; a resumed one must say the same
    stop_after_updates: int | None = None  # interrupt there, as a signal would

    def __post_init__(self) -> None:
        for name in ("updates", "processes", "checkpoint_every", "success_distance_m"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected more than 0")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; expected 0 or more")
        if not 0.0 < self.sync_frac <= 1.0:
            raise ConfigError(f"sync_frac is {self.sync_frac}; expected above 0 and at most 1 (1 = never preempt)")


@dataclass(frozen=True)
class Row:
    """Figures of one update, over all workers; means over the episodes that ended in it."""

    update: int
    steps: int  # environment steps so far
    episodes: int  # ended in this update
    success: float
    spl: float
    reward: float
    length: float
    losses: UpdateStats


class Trainer:
    """One worker of a training; rank 0 also saves and talks."""

    def __init__(
        self, config: TrainConfig, make_environment: MakeEnvironment, make_network: MakeNetwork, workers: Workers
    ) -> None:
        self._config, self._workers = config, workers
        device = training_device(config.device, workers.rank)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(checked(config.seed))  # initial weights only
            self.network = make_network().to(device).train()
        workers.broadcast(self.network)
        self._collector = Collector(make_environment(workers.rank), self.network, config.seed, workers.rank, device)
        self._ppo = PPO(self.network, config.ppo, config.seed, workers.rank, average_gradients)
        self.history: list[Row] = []
        self._interrupted: list[int] = []
        self._console = Console(markup=False, stderr=True, quiet=workers.rank > 0)

    def run(self) -> bool:
        """True when the schedule is complete, False when interrupted."""
        with interrupts(self._workers.rank == 0) as self._interrupted:
            return self._run()

    def _run(self) -> bool:
        c = self._config
        if resume(c.out, self._settings(), self._restore):
            self._console.print(f"resuming after update {len(self.history)}")
        stop = False
        with progress(self._console, c.updates, len(self.history)) as show:
            while len(self.history) < c.updates and not stop:
                stop = self._one_update()
                show(len(self.history), self._describe())
                if len(self.history) % c.checkpoint_every == 0 and not stop and len(self.history) < c.updates:
                    self._save()
        self._save()
        return len(self.history) >= c.updates

    def _one_update(self) -> bool:
        """Collects, learns, notes; whether to stop, which is equal in all workers."""
        c, workers, index = self._config, self._workers, len(self.history)
        planned = c.ppo.rollout_steps
        rollout = self._collector.collect(planned, lambda done: workers.preempted(index, done, planned))
        workers.finish(index)
        losses = self._ppo.update(rollout, index, index / c.updates)
        workers.average_buffers(self.network)
        stop = bool(self._interrupted) or index + 1 == c.stop_after_updates
        row, stop = self._row(rollout, losses, stop)
        self.history.append(row)
        return stop

    def _row(self, rollout: Rollout, losses: UpdateStats, stop: bool) -> tuple[Row, bool]:
        d, ended = self._config.success_distance_m, rollout.outcomes
        sums = [
            float(self._workers.rank == 0 and stop),  # the first worker decides for all
            rollout.steps,
            len(ended),
            sum(success(o, d) for o in ended),
            sum(spl(o, d) for o in ended),
            sum(o.reward for o in ended),
            sum(o.steps for o in ended),
        ]
        stop_sum, new_steps, n, *totals = self._workers.total(torch.tensor(sums, dtype=torch.float64)).tolist()
        before = self.history[-1].steps if self.history else 0
        won, efficiency, reward, length = (value / n if n else 0.0 for value in totals)
        row = Row(len(self.history) + 1, before + int(new_steps), int(n), won, efficiency, reward, length, losses)
        return row, stop_sum > 0.0

    def _describe(self) -> str:
        recent = self.history[-_RECENT:]
        n = max(1, sum(r.episodes for r in recent))
        won = sum(r.success * r.episodes for r in recent) / n
        return f"{self.history[-1].steps:,} steps, success {won:.2f}, entropy {recent[-1].losses.entropy:.2f}"

    def _save(self) -> None:
        """Everything at the first worker, in one file that appears whole or not at all."""
        c = self._config
        worker_states = self._workers.gather(self._collector.checkpoint())
        if self._workers.rank > 0:
            return
        rows = [asdict(r) for r in self.history]
        state = {
            "network": self.network.state_dict(),
            "optimiser": self._ppo.optimiser.state_dict(),
            "workers": worker_states,
            "history": rows,
        }
        save_state(c.out, self._settings(), state)
        checkpoint.save(c.out / WEIGHTS_FOLDER, self.network.state_dict(), self.network.config, self._card())
        partial = c.out / f"{METRICS_FILE}.partial"
        partial.write_text(json.dumps(rows, indent=1))
        partial.replace(c.out / METRICS_FILE)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._ppo.optimiser.load_state_dict(state["optimiser"])
        self._collector.restore({k: v.cpu() for k, v in state["workers"][self._workers.rank].items()})
        self.history = [Row(**{**row, "losses": UpdateStats(**row["losses"])}) for row in state["history"]]

    def _settings(self) -> str:
        c = self._config
        own = f"seed: {c.seed}\nprocesses: {c.processes}\nsync_frac: {c.sync_frac}\n"
        return f"{own}{to_yaml(c.ppo)}{c.environment}"

    def _card(self) -> str:
        c = self._config
        return "\n".join(
            [
                "# PSL navigation policy",
                "",
                "Trained by `sinew train psl`.",
                "",
                f"- {len(self.history)} updates, {self._describe()}; {c.processes} worker(s), seed {c.seed}",
            ]
        )
