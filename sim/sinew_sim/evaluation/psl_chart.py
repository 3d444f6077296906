"""Learning curves of a maze training as a picture."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sinew_policies.common.errors import DataError
from sinew_policies.common.report import Metric
from sinew_policies.common.types import F64
from sinew_policies.psl.trainer import METRICS_FILE

_BINS = 40


def draw(file: Path, folders: Sequence[Path], players: dict[str, dict[str, Metric]]) -> None:
    """Success over training steps for each run in `folders`, beside every player's success on unseen mazes.

    Training episodes also start near their goals and change with the policy, so the dots on the right, all from
    the same unseen episodes, are what compares.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 3.6), dpi=110)
    curves = [_curve(folder) for folder in folders]
    for steps, success in curves:
        axes.plot(steps / 1e3, success, color="tab:blue", alpha=0.35, linewidth=1)
    shared = min(len(s) for _, s in curves)
    axes.plot(
        curves[0][0][:shared] / 1e3,
        np.mean([s[:shared] for _, s in curves], 0),
        color="tab:blue",
        linewidth=2,
        label=f"while training, mean of {len(curves)} seeds",
    )
    last = float(curves[0][0][-1]) / 1e3
    colours = ("tab:blue", "tab:gray", "tab:orange", "tab:red", "tab:green")
    for i, (name, metrics) in enumerate(players.items()):
        m = metrics["success"]
        low, high = (m.value - m.low, m.high - m.value) if np.isfinite(m.low) else (0.0, 0.0)
        axes.errorbar(
            last * (1.03 + 0.025 * i),
            m.value,
            [[max(0.0, low)], [max(0.0, high)]],
            fmt="o",
            color=colours[i % len(colours)],
            capsize=3,
            clip_on=False,
            label=f"{name}, unseen mazes: {m.value:.2f}",
        )
    axes.set(xlabel="thousand steps", ylabel="success", ylim=(0.0, 1.02), xlim=(0.0, None))
    axes.set_title("Image goals in the embedded maze", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    figure.savefig(partial, format="png", bbox_inches="tight", metadata={"Software": ""})
    plt.close(figure)
    partial.replace(file)


def _curve(folder: Path) -> tuple[F64, F64]:
    """(steps, success) of a run in up to 40 bins of equal length."""
    path = folder / METRICS_FILE
    try:
        rows = json.loads(path.read_text())
    except (OSError, ValueError) as fault:
        raise DataError(f"{path} is not a training's history ({fault}); train again") from fault
    table = np.array([[r["steps"], r["episodes"], r["episodes"] * r["success"]] for r in rows], np.float64)
    bins = np.array_split(table, min(_BINS, len(table)))
    return np.array([b[-1, 0] for b in bins]), np.array([b[:, 2].sum() / max(1.0, b[:, 1].sum()) for b in bins])
