"""Learning curves of a maze training, and who succeeds in unseen mazes, as a picture."""

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
    """Left, success over training steps for each run in `folders`; right, every player's success on unseen mazes.

    The two do not compare: training episodes also start near their goals and change with the policy.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.0, 3.4), dpi=110, sharey=True, layout="constrained", gridspec_kw={"width_ratios": [3, 2]}
    )
    curves = [_curve(folder) for folder in folders]
    for number, (steps, success) in enumerate(curves):
        left.plot(
            steps / 1e3, success, color="tab:blue", alpha=0.4, linewidth=1, label=None if number else "each seed"
        )
    shared = min(len(s) for _, s in curves)
    mean = np.mean([s[:shared] for _, s in curves], 0)
    left.plot(curves[0][0][:shared] / 1e3, mean, color="tab:blue", linewidth=2, label=f"mean of {len(curves)}")
    left.set(
        title="while training",
        xlabel="environment steps, thousands",
        ylabel="success rate",
        xlim=(0.0, None),
        ylim=(0.0, 1.1),
    )
    left.legend(fontsize=8, loc="upper left")
    for place, metrics in enumerate(players.values()):
        m = metrics["success"]
        low, high = (m.value - m.low, m.high - m.value) if np.isfinite(m.low) else (0.0, 0.0)
        reach = [[max(0.0, low)], [max(0.0, high)]]
        right.errorbar(place, m.value, reach, fmt="o", color="tab:gray" if place else "tab:blue", capsize=4)
        right.annotate(
            f"{m.value:.2f}", (place, m.value), (6, 4), textcoords="offset points", fontsize=8, clip_on=False
        )
    right.set(title="on unseen mazes, 95 % intervals", xlim=(-0.5, len(players) - 0.2))
    right.set_xticks(range(len(players)), [name.replace("-", "\n", 1) for name in players], fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    figure.savefig(partial, format="png", metadata={"Software": ""})
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
