"""Scores on held-out images, as the paper gives them, each beside the best answer that does not look."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinew_policies.common.report import Metric, rate
from sinew_policies.common.types import F64
from sinew_policies.t3.batches import Batch, Source
from sinew_policies.t3.losses import reconstruction_loss, supervised_loss
from sinew_policies.t3.network import T3
from sinew_policies.t3.pose import angles_between_deg, distances
from sinew_policies.t3.tasks import TASKS

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Scores:
    """`metrics` in mm, degrees, fractions or the label's own unit; `…_of_mean` answers with the mean of the very
    labels it is scored on, `accuracy_of_majority` with their commonest class: no constant answer does better.
    """

    source: str  # set/head
    head: str
    loss: float
    metrics: Mapping[str, Metric]


@dataclass(frozen=True)
class Validation:
    """All sources at one step of a training."""

    step: int
    minutes: float
    training_loss: Mapping[str, float]  # smoothed, by sensor/head
    scores: tuple[Scores, ...]

    @property
    def loss(self) -> float:
        """Mean over the sources; the lowest marks the best checkpoint."""
        return float(np.mean([s.loss for s in self.scores]))

    def plain(self) -> dict[str, object]:
        """Containers and numbers only, for a file that is read without unpickling."""
        return asdict(self)

    @staticmethod
    def from_plain(tree: Mapping[str, Any]) -> "Validation":
        scores = tuple(
            Scores(s["source"], s["head"], s["loss"], {n: Metric(**m) for n, m in s["metrics"].items()})
            for s in tree["scores"]
        )
        return Validation(tree["step"], tree["minutes"], tree["training_loss"], scores)


def batch_loss(network: T3, batch: Batch) -> tuple[Tensor, Tensor]:
    """(scalar loss, raw output) of the head; the trunk runs once per image, also for pairs."""
    if batch.noise is not None:
        seen = network.reconstruct(batch.sensor, batch.head, batch.images, batch.noise)
        loss = reconstruction_loss(
            seen.patches,
            batch.images,
            seen.mask,
            patch=network.config.encoder.patch_px,
            norm_pix=network.config.heads[batch.head].kind == "mae",  # cross_mae learns plain pixels, as published
        )
        return loss, seen.patches
    assert batch.target is not None
    tokens = network.tokens(batch.sensor, batch.images)
    head = network.head(batch.head)
    # The second images are the first ones in another order, so their tokens are there already.
    output = head(tokens) if batch.partner is None else head(tokens, tokens[batch.partner])
    return supervised_loss(TASKS[batch.head].loss, output, batch.target), output


@torch.no_grad()
def score(network: T3, source: Source, batches: Iterable[Batch]) -> Scores:
    """Scores of one head on one set; the network is in evaluation mode."""
    device = next(network.parameters()).device
    losses: list[float] = []
    outputs: list[F64] = []
    targets: list[F64] = []
    for batch in batches:
        loss, output = batch_loss(network, batch.to(device))
        losses.append(float(loss))
        if batch.target is not None:
            outputs.append(output.double().cpu().numpy())
            targets.append(batch.target.double().numpy())
    metrics = {} if source.reconstructs else _metrics(source, np.concatenate(outputs), np.concatenate(targets))
    return Scores(source.name, source.head, float(np.mean(losses)), metrics)


def _metrics(source: Source, output: F64, target: F64) -> dict[str, Metric]:
    kind = TASKS[source.head].kind
    if kind == "class":
        hits = int((output.argmax(1) == target).sum())
        majority = int(np.bincount(target.astype(np.int64)).max())
        return {"accuracy": rate(hits, len(target)), "accuracy_of_majority": rate(majority, len(target))}
    norm = source.label_norm if kind != "variance" else None
    predicted, wanted = (output, target) if norm is None else (norm.restore(output), norm.restore(target))
    constant = np.broadcast_to(wanted.mean(0), wanted.shape)
    measures: dict[str, tuple[Callable[[F64, F64], F64], str]] = {"rmse": (distances, "gray²")}
    if kind in ("pose_6d", "pose_3d"):
        measures = {"translation_rmse": (lambda a, b: distances(a[:, :3], b[:, :3]), "mm")}
    if kind == "pose_6d":
        measures["rotation_rmse"] = (angles_between_deg, "deg")
    found: dict[str, Metric] = {}
    for name, (measure, unit) in measures.items():
        found[name] = root_mean_square(measure(predicted, wanted), unit)
        found[f"{name}_of_mean"] = root_mean_square(measure(constant, wanted), unit)
    return found


def root_mean_square(errors: F64, unit: str) -> Metric:
    """With a 95 % interval from the spread of the squared errors (N,)."""
    squared = errors**2
    mean = float(squared.mean())
    half = _Z95 * float(squared.std(ddof=1)) / np.sqrt(len(squared)) if len(squared) > 1 else 0.0
    return Metric(
        float(np.sqrt(mean)), float(np.sqrt(max(0.0, mean - half))), float(np.sqrt(mean + half)), len(errors), unit
    )
