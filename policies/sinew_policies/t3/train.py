"""`sinew train t3 pretrain|supervise|finetune`: trains T3 on FoTa shards.

Same data, seed, batch, processes and steps give the same weights, also across an interruption and resume.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sinew_policies.common import config as config_files
from sinew_policies.common.compute_device import DEVICES, choose_device
from sinew_policies.common.errors import CheckpointError, ConfigError
from sinew_policies.common.report import Metric, Report, Row, metric_fields
from sinew_policies.common.training_processes import joined, run_together, started_by_torchrun, torchrun_place
from sinew_policies.t3.batches import Source, sources_of
from sinew_policies.t3.config import SIZES
from sinew_policies.t3.sets import DataSet, open_sets, write_info
from sinew_policies.t3.starting import starting_network
from sinew_policies.t3.train_config import FRESH, Shape, Stage, TrainConfig
from sinew_policies.t3.trainer import BEST_FOLDER, Trainer
from sinew_policies.t3.validation import Validation

SETTINGS_FILE = "train.yaml"
SETS_FOLDER = "sets"  # what was measured of each set, needed to read the heads' outputs

_MAY_CHANGE = ("out", "data", "processes", "loaders", "device", "save_every_s", "stop_after_steps")

_FIXED_BY_START = ("width", "n_heads", "encoder_depth", "trunk_depth", "image_px", "patch_px")


@dataclass(frozen=True)
class Trained:
    finished: bool
    best: Validation | None  # of the checkpoint in `<out>/best`
    history: tuple[Validation, ...]


def train(config: TrainConfig) -> Trained:
    """Trains to the end of the schedule or until SIGINT or SIGTERM, checkpointing on the way.

    Everything that can be wrong with data, components and settings is found before the first step.
    """
    sets = open_sets(config.data, config.sets, seed=config.seed)
    sources = sources_of(sets, config)
    if started_by_torchrun():
        rank, processes = torchrun_place()
        config = replace(config, processes=processes)
        trainer = _trainer(config, sources, rank)
        if rank == 0:
            _claim(config, sets)
        with joined(rank, processes, "env://", config.device):
            return _run(trainer)
    trainer = _trainer(config, sources, 0)
    _claim(config, sets)
    others = partial(_run_another, config, sources)
    return run_together(config.processes, partial(_run, trainer), others, device=config.device)


def _trainer(config: TrainConfig, sources: Sequence[Source], rank: int) -> Trainer:
    sensors = tuple(sorted({s.data.info.sensor for s in sources}))
    heads = tuple(sorted({s.head for s in sources}))
    return Trainer(config, starting_network(config, sensors, heads), sources, rank)


def _run(trainer: Trainer) -> Trained:
    finished = trainer.run()
    return Trained(finished, trainer.best, tuple(trainer.history))


def _run_another(config: TrainConfig, sources: Sequence[Source], rank: int) -> None:
    _run(_trainer(config, sources, rank))


def _claim(config: TrainConfig, sets: Sequence[DataSet]) -> None:
    """Notes settings and sets in the run folder, or checks that a run there has the same settings."""
    config.out.mkdir(parents=True, exist_ok=True)
    path = config.out / SETTINGS_FILE
    noted = replace(config, **{n: getattr(_NEUTRAL, n) for n in _MAY_CHANGE})
    if path.exists():
        before = config_files.load(TrainConfig, path)
        changed = [n for n in TrainConfig.__dataclass_fields__ if getattr(before, n) != getattr(noted, n)]
        if changed:
            listed = ", ".join(f"{n} {getattr(before, n)}, not {getattr(noted, n)}" for n in changed)
            raise CheckpointError(
                f"{config.out} holds a run with {listed}; give the same settings to resume it, or another --out"
            )
    else:
        part = path.with_name(f".{SETTINGS_FILE}.partial")
        config_files.save(noted, part)
        part.replace(path)
    for data in sets:
        folder = config.out / SETS_FOLDER / data.name
        folder.mkdir(parents=True, exist_ok=True)
        write_info(folder, data.info)


_NEUTRAL = TrainConfig("pretrain", Path(), Path())


def pretrain(argv: Sequence[str]) -> int:
    """Masked reconstruction of unlabelled images."""
    return _main("pretrain", argv)


def supervise(argv: Sequence[str]) -> int:
    """All heads that the sets have labels for, usually from pretrained components."""
    return _main("supervise", argv)


def finetune(argv: Sequence[str]) -> int:
    """One head, from supervised components, with parts frozen at first or throughout."""
    return _main("finetune", argv)


def _main(stage: Stage, argv: Sequence[str]) -> int:
    """Exit status 0 when finished, 130 when interrupted (resume with the same command)."""
    a = _parser(stage).parse_args(list(argv))
    if a.json is not None:
        Report.check_writable(a.json)
    fixed = [change for change in a.shape if change.partition("=")[0] in _FIXED_BY_START]
    if a.start is not None and fixed:
        raise ConfigError(
            f"--shape {','.join(fixed)} contradicts --from: its components have their sizes; leave it out"
        )
    shape = config_files.decode(Shape, _shape_tree(a.size, a.shape))
    tasks = (a.task,) if stage == "finetune" else getattr(a, "tasks", None)
    config = TrainConfig(
        stage,
        a.data,
        a.out,
        a.steps,
        a.seed,
        a.batch,
        a.sets,
        tasks,
        a.start,
        a.encoder_from,
        shape,
        getattr(a, "cross", False),
        a.mix,
        a.lr,
        other_lr_scale=a.other_lr_scale,
        weight_decay=a.weight_decay,
        freeze_encoder=a.freeze_encoder,
        freeze_trunk=a.freeze_trunk,
        unfreeze_at=a.unfreeze_at,
        limit_samples=a.limit_samples,
        validate_every=a.validate_every,
        processes=a.processes,
        loaders=a.loaders,
        device=choose_device(a.device, a.processes).type,
    )
    started = time.monotonic()
    trained = train(config)
    if a.json is not None:
        report(stage, config.seed, time.monotonic() - started, trained).write(a.json)
    if trained.best is not None:
        print(f"best validation loss {trained.best.loss:.4f} at step {trained.best.step}: {a.out / BEST_FOLDER}")
    if not trained.finished:
        print(f"interrupted; the same command goes on with what is in {a.out}", file=sys.stderr)
        return 130
    return 0


def report(stage: Stage, seed: int, seconds: float, trained: Trained) -> Report:
    """Scores of the best checkpoint; rows per set and head, with constant answers beside, and per validation."""
    best = trained.best
    scores = () if best is None else best.scores
    metrics: dict[str, Metric] = {}
    if best is not None:
        metrics["validation_loss"] = Metric(best.loss, float("nan"), float("nan"), len(scores))
    rows: list[Row] = []
    for s in scores:
        own = {n: m for n, m in s.metrics.items() if not n.endswith(("_of_mean", "_of_majority"))}
        prefix = "" if len(scores) == 1 else s.source.replace("/", "_") + "_"
        metrics |= {f"{prefix}{n}": m for n, m in own.items()}
        rows.append({"source": s.source, "loss": s.loss, **{n: metric_fields(m) for n, m in s.metrics.items()}})
    rows += [
        {"step": v.step, "validation_loss": v.loss, **{f"training_loss {n}": x for n, x in v.training_loss.items()}}
        for v in trained.history
    ]
    return Report(f"train t3 {stage}", seed, seconds, metrics, rows)


def _parser(stage: Stage) -> argparse.ArgumentParser:
    about = {"pretrain": pretrain, "supervise": supervise, "finetune": finetune}[stage].__doc__
    parser = argparse.ArgumentParser(
        prog=f"sinew train t3 {stage}",
        description=f"{about} Resumes what --out holds.",
    )
    d = _NEUTRAL
    parser.add_argument("--data", type=Path, required=True, help="folder of sets in FoTa's layout")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--sets", type=_words, help="only these, comma-separated (default: all)")
    parser.add_argument("--from", dest="start", type=Path, help="component folder to start from")
    parser.add_argument(
        "--encoder-from", metavar="NAME", help=f"encoder that starts sensors which --from lacks, or '{FRESH}'"
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny", help="of a new network (default tiny)")
    parser.add_argument(
        "--shape", type=_words, default=(), metavar="N=V,…", help="changes to --size, such as width=64,image_px=112"
    )
    if stage == "pretrain":
        parser.add_argument("--cross", action="store_true", help="reconstruct by cross-attention")
    if stage == "supervise":
        parser.add_argument("--tasks", type=_words, help="only these heads, comma-separated")
    if stage == "finetune":
        parser.add_argument("--task", required=True, help="the head")
    parser.add_argument("--steps", type=int, default=d.steps, help=f"(default {d.steps:,})")
    parser.add_argument("--batch", type=int, default=d.batch, help=f"images per step (default {d.batch})")
    parser.add_argument("--seed", type=int, default=0, help="(default 0)")
    parser.add_argument("--lr", type=float, default=d.lr, help=f"at first (default {d.lr:g})")
    parser.add_argument("--other-lr-scale", type=float, default=1.0, help="of everything but the trunk (default 1)")
    parser.add_argument("--weight-decay", type=float, default=d.weight_decay, help=f"(default {d.weight_decay})")
    parser.add_argument("--mix", default=d.mix, help="share of each set: root (default), equal or invlinear")
    parser.add_argument("--freeze-encoder", action="store_true")
    parser.add_argument("--freeze-trunk", action="store_true")
    parser.add_argument("--unfreeze-at", type=int, metavar="STEP", help="train everything from there")
    parser.add_argument("--limit-samples", type=int, metavar="N", help="of each set's training split")
    parser.add_argument(
        "--validate-every",
        type=int,
        default=d.validate_every,
        metavar="STEPS",
        help=f"(default {d.validate_every})",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="on this machine (default 1); on GPUs each takes its own; torchrun for several machines",
    )
    parser.add_argument("--loaders", type=int, default=0, help="data workers per process (default 0)")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="report")
    return parser


def _shape_tree(size: str, changes: Sequence[str]) -> dict[str, object]:
    base = Shape.of_size(size)
    tree: dict[str, object] = {n: getattr(base, n) for n in Shape.__dataclass_fields__}
    for change in changes:
        name, sign, text = change.partition("=")
        if not sign:
            raise ConfigError(f"'{change}' in --shape has no '='; write name=value, such as width=64")
        try:
            tree[name] = float(text) if name == "dropout" else int(text)
        except ValueError as fault:
            raise ConfigError(f"--shape {name} is '{text}'; expected a number") from fault
    return tree


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)
