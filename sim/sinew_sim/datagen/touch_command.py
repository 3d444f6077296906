"""`sinew datagen touch`: generated gel images with labels, as FoTa shards to train T3 on."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sinew_sim.datagen.touch import TouchDataConfig, generate_touch_data, sets_of
from sinew_sim.touch.gel import SENSORS
from sinew_sim.touch.indenters import INDENTERS


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 when everything is written, 130 when interrupted; the same command goes on."""
    parser = argparse.ArgumentParser(prog="sinew datagen touch", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--samples", type=int, default=TouchDataConfig.samples, help="per set (default 2000)")
    parser.add_argument("--sensors", type=_words, default=tuple(SENSORS), help=f"of {','.join(SENSORS)}")
    parser.add_argument(
        "--objects", type=_words, default=("key",), help=f"with 6D poses, of {','.join(INDENTERS)} (default key)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-shard", type=int, default=TouchDataConfig.per_shard)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    a = parser.parse_args(argv)
    config = TouchDataConfig(a.out, a.samples, a.sensors, a.objects, a.seed, a.per_shard, a.workers)
    console = Console(markup=False, stderr=True)
    columns = (TextColumn("shards"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("shards", total=None)
            count = generate_touch_data(config, lambda done, total: bar.update(task, completed=done, total=total))
    except KeyboardInterrupt:
        console.print(f"interrupted; the same command goes on with what is in {a.out}")
        return 130
    console.print(f"{count} touches in {len(sets_of(config))} sets: {', '.join(s.name for s in sets_of(config))}")
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


if __name__ == "__main__":
    raise SystemExit(main())
