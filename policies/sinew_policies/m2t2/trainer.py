"""The training loop of the grasp network: one process of possibly several."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from torch.utils.data import DataLoader

from sinew_policies.common import checkpoint
from sinew_policies.common.compute_device import training_device
from sinew_policies.common.seeds import checked
from sinew_policies.common.training_processes import average_gradients, together
from sinew_policies.common.training_run import interrupts, progress, resume, save_state
from sinew_policies.m2t2.batches import Batches, Steps, TrainConfig
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.dataset import load, to_device
from sinew_policies.m2t2.losses import LossConfig, m2t2_loss
from sinew_policies.m2t2.network import M2T2, SceneInput
from sinew_policies.m2t2.optimise import StepControl, WeightAverage, lr_factor, make_optimiser
from sinew_policies.m2t2.shards import TrainingScene
from sinew_policies.m2t2.targets import Targets
from sinew_policies.m2t2.validation import Scores, validate

METRICS_FILE = "metrics.json"
WEIGHTS_FOLDER = "weights"


class Trainer:
    """One process of a training; rank 0 also validates, saves and talks."""

    def __init__(self, config: TrainConfig, network: M2T2Config, loss: LossConfig, rank: int = 0) -> None:
        self._config, self._loss, self._rank = config, loss, rank
        self._device = training_device(config.device, rank)
        torch.manual_seed(checked(config.seed))  # initial weights only
        self._network = M2T2(network).to(self._device).train()
        self._parameters = [p for p in self._network.parameters() if p.requires_grad]
        self._optimiser = make_optimiser(self._network, config.lr, config.weight_decay)
        self._average = WeightAverage(self._network, config.ema_decay)
        self._step, self._elapsed_s = 0, 0.0
        self._interrupted: list[int] = []
        self._history: list[dict[str, float]] = []
        self._recent: dict[str, float] = {}
        self._console = Console(markup=False, stderr=True, quiet=rank > 0)

    def run(self) -> bool:
        """True when the schedule is complete, False when interrupted."""
        train_scenes, validation_scenes = load(self._config.data, limit=self._config.limit_scenes)
        with interrupts(self._rank == 0) as self._interrupted:
            return self._run(train_scenes, validation_scenes)

    def _run(self, train_scenes: list[TrainingScene], validation_scenes: list[TrainingScene]) -> bool:
        c = self._config
        if resume(c.out, self._settings(), self._restore):
            self._console.print(f"resuming at step {self._step}")
        self._console.print(
            f"{len(train_scenes)} training and {len(validation_scenes)} validation scenes, "
            f"{sum(p.numel() for p in self._parameters):,} parameters, {c.processes} process(es) on {c.device}"
        )
        loader = DataLoader(
            Batches(train_scenes, c, self._network.config, self._rank),
            batch_size=None,
            sampler=Steps(self._step),
            num_workers=c.loaders,
            prefetch_factor=4 if c.loaders else None,
        )
        saved = validated = started = time.monotonic()
        before_s, before_steps = self._elapsed_s, self._step
        done = self._progress()
        with progress(self._console, 1.0, done) as show:
            batches = iter(loader)
            control = StepControl(done, False)
            while done < 1.0 and not control.stop:
                batch, targets = next(batches)
                control = self._one_step(to_device(batch, self._device), to_device(targets, self._device))
                now = time.monotonic()
                self._elapsed_s = before_s + now - started
                done = self._shared_progress(control) if together() else self._progress()
                if self._rank > 0:
                    continue
                ms = 1e3 * (self._elapsed_s - before_s) / (self._step - before_steps) / c.batch
                show(min(1.0, done), self._describe(ms))
                if now - validated > c.validate_every_s:
                    self._validate(validation_scenes[: c.n_validation // 2])
                    validated = time.monotonic()
                if now - saved > c.checkpoint_every_s:
                    self._save()
                    saved = time.monotonic()
        if self._rank == 0:
            if done >= 1.0:
                self._validate(validation_scenes[: c.n_validation])
            self._save()
            self._console.print(
                f"weights in {c.out / WEIGHTS_FOLDER}, {self._step} steps, {self._elapsed_s / 60:.1f} min"
            )
        return done >= 1.0

    def _progress(self) -> float:
        c = self._config
        by_steps = self._step / c.steps if c.steps else 0.0
        by_time = self._elapsed_s / (60.0 * c.minutes) if c.minutes else 0.0
        return max(by_steps, by_time)

    def _shared_progress(self, control: StepControl) -> float:
        """Equal in all processes: the clock as the first one read it before this step."""
        by_steps = self._step / self._config.steps if self._config.steps else 0.0
        return max(by_steps, control.progress)

    def _one_step(self, batch: SceneInput, targets: Targets) -> StepControl:
        c = self._config
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=c.mixed):
            output = self._network(batch)
            result = m2t2_loss(self._network, output, targets, self._loss)
        result.total.backward()  # type: ignore[no-untyped-call]
        # A signal takes effect here only, so that all processes leave after the same step.
        stop = bool(self._interrupted) or self._step + 1 == c.stop_after_steps
        control = StepControl(self._progress(), stop).of_first()
        average_gradients(self._parameters)
        for group in self._optimiser.param_groups:
            group["lr"] = c.lr * lr_factor(self._step, control.progress, c.warm_up_steps)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, c.clip_norm)
        if bool(torch.isfinite(norm)):  # an overflowing step is skipped rather than poisoning the average
            self._optimiser.step()
        self._step += 1
        self._average.update(self._network, self._step)
        values = {name: t.value for name, t in result.terms.items() if "/" not in name}
        for name, value in {**values, "total": result.total, "gradient_norm": norm}.items():
            v = float(value.detach())
            self._recent[name] = 0.98 * self._recent.get(name, v) + 0.02 * v
        return control

    def _describe(self, ms_per_scene: float) -> str:
        return f"step {self._step} loss {self._recent['total']:.2f} {ms_per_scene:.0f} ms/scene"

    def _validate(self, scenes: list[TrainingScene]) -> None:
        network = M2T2(self._network.config).to(self._device).eval()
        network.load_state_dict(self._average.state)
        scores = validate(network, scenes, self._loss, seed=self._config.seed, device=self._device)
        self._history.append(
            {"step": float(self._step), "minutes": self._elapsed_s / 60, **asdict(scores), **self._recent}
        )
        self._console.print(f"step {self._step}: " + ", ".join(f"{k} {v:.3f}" for k, v in asdict(scores).items()))

    def _save(self) -> None:
        c = self._config
        state = {
            "step": self._step,
            "elapsed_s": self._elapsed_s,
            "network": self._network.state_dict(),
            "average": self._average.state,
            "optimiser": self._optimiser.state_dict(),
            "history": self._history,
            "recent": self._recent,
        }
        save_state(c.out, self._settings(), state)
        checkpoint.save(c.out / WEIGHTS_FOLDER, self._average.state, self._network.config, self._card())
        metrics = {
            "step": self._step,
            "minutes": self._elapsed_s / 60,
            "recent": self._recent,
            "history": self._history,
        }
        partial = c.out / f"{METRICS_FILE}.partial"
        partial.write_text(json.dumps(metrics, indent=1))
        partial.replace(c.out / METRICS_FILE)

    def _card(self) -> str:
        c = self._config
        lines = [
            "# M2T2 grasp network",
            "",
            "Trained by `sinew train m2t2` on scenes of generated objects (`sinew datagen grasp`).",
            "",
            f"- {self._step} steps of {c.batch} scenes, {self._elapsed_s / 60:.1f} minutes, "
            f"{c.processes} process(es) on {c.device}, seed {c.seed}, learning rate {c.lr}",
        ]
        if self._history:
            last = self._history[-1]
            names = [f for f in Scores.__dataclass_fields__ if f != "loss"]
            lines.append("- held-out scenes: " + ", ".join(f"{n} {last[n]:.3f}" for n in names))
        return "\n".join(lines)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        for name, value in state["average"].items():
            self._average.state[name].copy_(value)
        self._step, self._elapsed_s = int(state["step"]), float(state["elapsed_s"])
        self._history, self._recent = state["history"], state["recent"]

    def _settings(self) -> str:
        return f"seed: {self._config.seed}"
