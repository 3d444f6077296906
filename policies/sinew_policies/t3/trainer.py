"""The training loop of all three stages: one process of possibly several."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset, Sampler

from sinew_policies.common.compute_device import training_device
from sinew_policies.common.errors import SinewError
from sinew_policies.common.seeds import stream
from sinew_policies.common.training_processes import number_here
from sinew_policies.common.training_run import interrupts, progress, resume, save_state
from sinew_policies.t3 import components
from sinew_policies.t3.batches import Batch, Batches, Source, validation_batches
from sinew_policies.t3.network import T3
from sinew_policies.t3.optimise import Freezer, check_same_step, exchange, make_optimiser, set_learning_rate
from sinew_policies.t3.train_config import TrainConfig
from sinew_policies.t3.validation import Scores, Validation, batch_loss, score

BEST_FOLDER, LAST_FOLDER = "best", "last"


class TrainingDiverged(SinewError):
    pass


class Trainer:
    """One process of a training; rank 0 also validates, saves and talks."""

    def __init__(self, config: TrainConfig, network: T3, sources: Sequence[Source], rank: int = 0) -> None:
        self._config, self._sources, self._rank = config, tuple(sources), rank
        self._device = training_device(config.device, number_here(rank))
        self._network = network.to(self._device)
        self._optimiser = make_optimiser(self._network, config)
        self._freezer = Freezer(self._network, config)
        encoder = network.config.encoder
        self._image_px, self._n_patches = encoder.image_px, encoder.n_patches
        self._batches = Batches(sources, config, self._image_px, self._n_patches, rank)
        self._step, self._elapsed_s = 0, 0.0
        self._interrupted: list[int] = []
        self._recent: dict[str, float] = {}  # smoothed training loss of each source
        self.history: list[Validation] = []
        self.best: Validation | None = None  # of the checkpoint in BEST_FOLDER
        self._console = Console(markup=False, stderr=True, quiet=rank > 0)

    def run(self) -> bool:
        """True when the schedule is complete, False when interrupted."""
        with interrupts(self._rank == 0) as self._interrupted:
            return self._run()

    def _run(self) -> bool:
        c = self._config
        if resume(c.out, self._settings(), self._restore):
            self._console.print(f"resuming at step {self._step}")
        check_same_step(self._step, c.out)
        self._introduce()
        loader = DataLoader(
            _Reported(self._batches),
            batch_size=None,
            sampler=_Steps(self._step, c.steps),
            num_workers=c.loaders,
            prefetch_factor=4 if c.loaders else None,
        )
        saved = started = time.monotonic()
        before_s, first = self._elapsed_s, self._step
        stopped = False
        with progress(self._console, c.steps, self._step) as show:
            for batch in loader:
                if isinstance(batch, SinewError):
                    raise batch
                stopped = self._one_step(batch)
                now = time.monotonic()
                self._elapsed_s = before_s + now - started
                show(self._step, self._describe(first, now - started))
                if self._rank == 0:
                    if self._step % c.validate_every == 0 or self._step == c.steps:
                        self._validate()
                    if now - saved > c.save_every_s:
                        self._save()
                        saved = time.monotonic()
                if stopped:
                    break
        if self._rank == 0:
            self._save()
        return self._step >= c.steps

    def _one_step(self, batch: Batch) -> bool:
        """Whether to stop after it."""
        c = self._config
        self._freezer.apply(self._step)
        set_learning_rate(self._optimiser, self._step, c)
        self._network.train()
        self._optimiser.zero_grad(set_to_none=True)  # parts that take no part keep None and are left alone
        # Dropout draws from torch's global generator: set from the step, it is the same after an interruption.
        torch.manual_seed(int(stream(c.seed, "dropout", self._step, self._rank).integers(2**62)))
        loss, _ = batch_loss(self._network, batch.to(self._device))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        # A signal takes effect here only, so that all processes leave after the same step.
        stop = bool(self._interrupted) or self._step + 1 == c.stop_after_steps
        shared = exchange(self._network, loss, stop)
        name = f"{batch.sensor}/{batch.head}"
        if not math.isfinite(shared.loss):
            raise TrainingDiverged(
                f"the loss of {name} is {shared.loss} in step {self._step}; lower --lr. The weights of the last "
                f"checkpoint are in {c.out / BEST_FOLDER}"
            )
        self._optimiser.step()
        self._step += 1
        self._recent[name] = 0.95 * self._recent.get(name, shared.loss) + 0.05 * shared.loss
        return shared.stop

    def _validate(self) -> None:
        c = self._config
        scores = [
            score(self._network.eval(), s, validation_batches(s, c, self._image_px, self._n_patches))
            for s in self._sources
        ]
        seen = Validation(self._step, self._elapsed_s / 60.0, dict(self._recent), tuple(scores))
        self.history.append(seen)
        best = self._step > min(c.best_after, c.steps - 1) and (self.best is None or seen.loss < self.best.loss)
        if best:
            self.best = seen
            components.save(c.out / BEST_FOLDER, self._network, self._card())
        self._console.print(
            f"step {self._step}: validation loss {seen.loss:.4f}{' (best)' if best else ''}; "
            + ", ".join(_said(s) for s in scores)
        )

    def _save(self) -> None:
        c = self._config
        state = {
            "step": self._step,
            "elapsed_s": self._elapsed_s,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "history": [v.plain() for v in self.history],
            "best": None if self.best is None else self.best.plain(),
            "recent": self._recent,
        }
        save_state(c.out, self._settings(), state)
        components.save(c.out / LAST_FOLDER, self._network, self._card())

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._elapsed_s = int(state["step"]), float(state["elapsed_s"])
        self.history = [Validation.from_plain(v) for v in state["history"]]
        self.best = None if state["best"] is None else Validation.from_plain(state["best"])
        self._recent = state["recent"]

    def _settings(self) -> str:
        return f"seed: {self._config.seed}"

    def _introduce(self) -> None:
        c = self._config
        parameters = sum(p.numel() for p in self._network.parameters())
        self._console.print(f"{c.stage}: {parameters:,} parameters, {c.processes} process(es) on {c.device}")
        for source, share in zip(self._sources, self._batches.shares, strict=True):
            splits = ", ".join(f"{len(s)} {name}" for name, s in source.data.splits.items())
            self._console.print(f"  {source.name} ({source.data.info.sensor}): {splits}, {share:.0%} of the steps")

    def _describe(self, first: int, seconds: float) -> str:
        ms = 1e3 * seconds / max(1, self._step - first)
        loss = sum(self._recent.values()) / max(1, len(self._recent))
        return f"step {self._step} loss {loss:.4f} {ms:.0f} ms/step"

    def _card(self) -> str:
        c = self._config
        lines = [
            f"Trained by `sinew train t3 {c.stage}`.",
            "",
            f"- sets: {', '.join(sorted({s.data.name for s in self._sources}))}",
            f"- step {self._step} of {c.steps}, batch {c.batch}, learning rate {c.lr}, seed {c.seed}",
        ]
        if self.history:
            lines.append(f"- validation loss {self.history[-1].loss:.5f} at step {self.history[-1].step}")
        return "\n".join(lines)


class _Reported(Dataset[Batch | SinewError]):
    """Hands faults of the data over, so that one from a loader process is as short as one from here."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> Batch | SinewError:
        try:
            return self._batches[step]
        except SinewError as fault:
            return fault


class _Steps(Sampler[int]):
    def __init__(self, first: int, end: int) -> None:
        self._range = range(first, end)

    def __iter__(self) -> Iterator[int]:
        return iter(self._range)


def _said(s: Scores) -> str:
    own = {n: m for n, m in s.metrics.items() if not n.endswith(("_of_mean", "_of_majority"))}
    numbers = [f"{n} {m.value:.3g} {m.unit}".rstrip() for n, m in own.items()]
    return f"{s.source} {', '.join([f'loss {s.loss:.4f}', *numbers])}"
