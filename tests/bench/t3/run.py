"""T3's latency per frame, one thread, on each backbone, and how far each agrees with plain torch.

Frames are rendered gel images of random presses; weights are fresh ones of a seed, or those of --weights. The
time does not depend on the weights, the agreement does.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from bench.timing import Timed, timed
from rich.console import Console
from rich.table import Table

from sinew_policies.common.report import Report, machine
from sinew_policies.common.types import U8
from sinew_policies.t3 import components
from sinew_policies.t3.backbone import Backbone, TorchBackbone
from sinew_policies.t3.config import SIZES, T3Config, published_head
from sinew_policies.t3.device_statistics import DeviceStatistics
from sinew_policies.t3.finger import Finger
from sinew_policies.t3.network import T3
from sinew_policies.t3.openvino_backbone import Agreement, OpenVINOBackbone, agreement
from sinew_policies.t3.predictor import Predictor
from sinew_policies.t3.preprocess import Preprocessing, preprocess, preprocess_batch
from sinew_sim.datagen.touch import TouchDataConfig, make_sample, sets_of

BACKBONES = ("torch", "openvino-f32", "openvino-bf16", "openvino-int8")
HEADS = ("cls_cnc", "variance_estimation", "pose_estimation_6d_mini", "pose_estimation_3d")
LIMITS_MS = {"torch": 40.0, "openvino-int8": 15.0}  # tiny, one frame: encoder and trunk, and with preprocessing

_SENSOR = "mini"
_CALIBRATION_FRAMES = 32
_COMPARED_FRAMES = 16


@dataclass(frozen=True)
class Results:
    timed: tuple[Timed, ...]
    agreements: dict[str, Agreement]


def measure(
    *,
    size: str = "tiny",
    weights: Path | None = None,
    sensor: str = _SENSOR,
    seed: int = 0,
    repeats: int = 50,
    backbones: tuple[str, ...] = BACKBONES,
    cache: Path | None = None,
) -> Results:
    frames = gel_frames(_CALIBRATION_FRAMES + _COMPARED_FRAMES, seed)
    how = own_preprocessing(frames)
    network = components.load(weights, [sensor]) if weights else fresh_network(size, seed)
    heads = tuple(h for h in network.config.heads if not network.config.heads[h].reconstructs)
    calibration = preprocess_batch(frames[:_CALIBRATION_FRAMES], how)
    compared = preprocess_batch(frames[_CALIBRATION_FRAMES:], how)
    one, two = compared[:1], compared[:2]
    timed_: list[Timed] = [measured("", "preprocessing", lambda: preprocess(frames[0], how), repeats)]
    timed_.append(
        measured("torch, not packed", "encoder and trunk, 1 frame", lambda: network.tokens(sensor, one), repeats)
    )
    agreements: dict[str, Agreement] = {}
    for name in backbones:
        backbone = make_backbone(name, network, sensor, calibration, cache)
        limit = LIMITS_MS.get(name) if size == "tiny" and weights is None else None
        agreements[name] = agreement(network, backbone, sensor, compared)
        bare, full = (
            Predictor(network, {"left": Finger(sensor, how, h, check_channels=False)}, backbone=backbone)
            for h in ((), heads)
        )
        for what, call, ms in (
            ("encoder and trunk, 1 frame", lambda b=backbone: b.tokens({sensor: one}), limit),
            ("encoder and trunk, 2 frames in a batch", lambda b=backbone: b.tokens({sensor: two}), None),
            ("frame to embedding", lambda p=bare: p.touch({"left": frames[-1]}), limit),
            (f"frame to {len(heads)} heads, poses from memory", lambda p=full: p.touch({"left": frames[-1]}), None),
        ):
            timed_.append(measured(name, what, call, repeats, ms))
    return Results(tuple(timed_), agreements)


def gel_frames(n: int, seed: int) -> list[U8]:
    """(240, 320, 3) pictures of random presses on a simulated gel."""
    config = TouchDataConfig(out=Path("unused"), sensors=(_SENSOR,), seed=seed)
    touch_set = sets_of(config)[0]
    return [make_sample(touch_set, number, config).image for number in range(n)]


def own_preprocessing(frames: list[U8]) -> Preprocessing:
    """With the statistics of the frames themselves: the simulated gel is no published sensor."""
    statistics = DeviceStatistics(Preprocessing.of_set("imagenet"))
    for frame in frames:
        statistics.add(frame)
    return Preprocessing(statistics.normalisation())


def fresh_network(size: str, seed: int) -> T3:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return T3(T3Config.of_size(size, (_SENSOR,), {h: published_head(h) for h in HEADS})).eval()


def make_backbone(name: str, network: T3, sensor: str, calibration: torch.Tensor, cache: Path | None) -> Backbone:
    if name == "torch":
        return TorchBackbone(network, torch.device("cpu"))
    precision = name.removeprefix("openvino-")
    return OpenVINOBackbone(network, precision, sensors=[sensor], calibration={sensor: calibration}, cache=cache)


@torch.inference_mode()
def measured(
    backbone: str, what: str, call: Callable[[], object], repeats: int, limit_ms: float | None = None
) -> Timed:
    return timed(backbone, what, call, repeats=repeats, limit_ms=limit_ms, unmeasured=3)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench/t3", description=__doc__)
    parser.add_argument("--size", default="tiny", choices=list(SIZES), help="of fresh weights (default tiny)")
    parser.add_argument("--weights", type=Path, help="component folder to measure instead of fresh weights")
    parser.add_argument("--sensor", default=_SENSOR, help=f"encoder in --weights (default {_SENSOR})")
    parser.add_argument("--seed", type=int, default=0, help="of presses and fresh weights")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument(
        "--backbones", default=",".join(BACKBONES), help=f"comma-separated, of {', '.join(BACKBONES)}"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps converted models")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    backbones = tuple(args.backbones.split(","))
    unknown = sorted(set(backbones) - set(BACKBONES))
    if unknown or args.repeats < 1:
        parser.error(f"backbones {unknown} unknown (valid: {', '.join(BACKBONES)}), or repeats below 1")
    if args.weights is None and args.sensor != _SENSOR:
        parser.error(f"fresh weights have the sensor {_SENSOR} only; --sensor goes with --weights")
    torch.set_num_threads(1)
    start = time.perf_counter()
    results = measure(
        size=args.size,
        weights=args.weights,
        sensor=args.sensor,
        seed=args.seed,
        repeats=args.repeats,
        backbones=backbones,
        cache=args.cache,
    )
    _print(results, str(args.weights) if args.weights else f"{args.size}, fresh weights")
    if args.json is not None:
        write(results, args.json, f"tests/bench/t3 --size {args.size} --seed {args.seed}", args.seed, start)


def write(results: Results, file: Path, command: str, seed: int, start: float) -> None:
    metrics = {t.key: t.wall for t in results.timed}
    rows = [t.row() for t in results.timed]
    rows += [{"group": name, **asdict(a)} for name, a in results.agreements.items()]
    Report(command, seed, time.perf_counter() - start, metrics, rows).write(file)


def _print(results: Results, network: str) -> None:
    console = Console(width=140)
    table = Table(title=f"T3 latency ({network}), {machine()}, one thread, ms", title_justify="left")
    for column in ("backbone", "what", "wall best", "wall median", "CPU best", "CPU median", "limit"):
        table.add_column(column, justify="left" if column in ("backbone", "what") else "right", no_wrap=True)
    for t in results.timed:
        row = t.row()
        best, median, cpu_best, cpu = (
            f"{row[k]:.1f}" for k in ("wall_best_ms", "wall_median_ms", "cpu_best_ms", "cpu_median_ms")
        )
        late = "" if t.limit_ms is None or min(t.cpu_ms) <= t.limit_ms else " missed"
        limit = "" if t.limit_ms is None else f"{t.limit_ms:g}{late}"
        table.add_row(t.group, t.name, best, median, cpu_best, cpu, limit)
    console.print(table)
    title = f"Agreement of the trunk's tokens with plain torch, worst of {_COMPARED_FRAMES} frames"
    table = Table(title=title, title_justify="left")
    for column in ("backbone", "cosine", "cosine without the mean frame", "max error", "rms of the tokens"):
        table.add_column(column, justify="left" if column == "backbone" else "right", no_wrap=True)
    for name, a in results.agreements.items():
        table.add_row(name, f"{a.cosine:.6f}", f"{a.centred_cosine:.5f}", f"{a.max_error:.2g}", f"{a.scale:.3f}")
    console.print(table)
