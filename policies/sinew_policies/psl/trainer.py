"""The PPO and DD-PPO training loop: one worker of possibly several."""

import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sinew_policies.common import checkpoint
from sinew_policies.common.config import to_yaml
from sinew_policies.common.errors import CheckpointError, ConfigError
from sinew_policies.psl.actor_critic import ActorCritic
from sinew_policies.psl.ddppo import Workers
from sinew_policies.psl.environment import VectorEnvironment
from sinew_policies.psl.metrics import SUCCESS_DISTANCE_M, spl, success
from sinew_policies.psl.ppo import PPO, PPOConfig, UpdateStats
from sinew_policies.psl.rollout import Collector, Rollout

STATE_FILE = "training_state.pt"
METRICS_FILE = "metrics.json"
WEIGHTS_FOLDER = "weights"

_SAY_EVERY_S = 30.0  # where no progress bar can be drawn
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
        device = torch.device(config.device)
        if config.device == "cpu":
            torch.set_num_threads(1)  # processes scale better, and threads spin when cores are shared
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # initial weights only
            self.network = make_network().to(device).train()
        workers.broadcast(self.network)
        self._collector = Collector(make_environment(workers.rank), self.network, config.seed, workers.rank, device)
        self._ppo = PPO(self.network, config.ppo, config.seed, workers.rank, workers.average_gradients)
        self.history: list[Row] = []
        self._stop_asked = False
        self._console = Console(stderr=True, quiet=workers.rank > 0)

    def run(self) -> bool:
        """True when the schedule is complete, False when interrupted."""
        before = {}
        if self._workers.rank == 0 and threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._run()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _run(self) -> bool:
        c, first = self._config, self._workers.rank == 0
        self._resume()
        said, stop = time.monotonic(), False
        with _progress_bar(self._console) as bar:
            task = bar.add_task("starting", total=c.updates, completed=len(self.history))
            while len(self.history) < c.updates and not stop:
                stop = self._one_update()
                bar.update(task, completed=len(self.history), description=self._describe())
                if first and not self._console.is_terminal and time.monotonic() - said > _SAY_EVERY_S:
                    self._console.print(f"update {len(self.history)} of {c.updates}: {self._describe()}")
                    said = time.monotonic()
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
        stop = self._stop_asked or index + 1 == c.stop_after_updates
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
            "settings": self._settings(),
            "network": self.network.state_dict(),
            "optimiser": self._ppo.optimiser.state_dict(),
            "workers": worker_states,
            "history": rows,
        }
        c.out.mkdir(parents=True, exist_ok=True)
        partial = c.out / f"{STATE_FILE}.partial"
        torch.save(state, partial)
        partial.replace(c.out / STATE_FILE)
        checkpoint.save(c.out / WEIGHTS_FOLDER, self.network.state_dict(), self.network.config, self._card())
        partial = c.out / f"{METRICS_FILE}.partial"
        partial.write_text(json.dumps(rows, indent=1))
        partial.replace(c.out / METRICS_FILE)

    def _resume(self) -> None:
        path = self._config.out / STATE_FILE
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self._config.device, weights_only=True)
            settings, saved = state["settings"], state["workers"]
        except Exception as fault:  # a damaged file makes the reader fail in any way
            raise CheckpointError(
                f"cannot resume from {path} ({fault}); it is damaged: choose another --out, or delete the folder "
                "to start again"
            ) from fault
        if settings != self._settings():
            raise CheckpointError(
                f"{path} was trained with other settings: {_difference(settings, self._settings())}; use those, or "
                "choose another --out"
            )
        try:
            self.network.load_state_dict(state["network"])
            self._ppo.optimiser.load_state_dict(state["optimiser"])
            self._collector.restore({k: v.cpu() for k, v in saved[self._workers.rank].items()})
            self.history = [Row(**{**row, "losses": UpdateStats(**row["losses"])}) for row in state["history"]]
        except (RuntimeError, KeyError, ValueError, TypeError) as fault:
            raise CheckpointError(
                f"cannot resume from {path} ({fault}); it belongs to another network or environment: choose "
                "another --out, or delete the folder to start again"
            ) from fault
        self._console.print(f"resuming after update {len(self.history)}")

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

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once


def _difference(theirs: str, ours: str) -> str:
    pairs = zip(theirs.splitlines(), ours.splitlines(), strict=False)
    return ", ".join(f"'{a}' instead of '{b}'" for a, b in pairs if a != b) or "other names"


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=console.quiet,
    )
