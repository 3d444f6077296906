"""PSL's step at the published size: the predictor beside the plain network, and the parts of a step."""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from bench.psl.agreement import Agreement, agreement
from bench.timing import Timed, timed
from rich.console import Console
from rich.table import Table

from sinew_policies.common.report import Metric, Report, machine
from sinew_policies.common.seeds import stream
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.network import Observation, PSLPolicy
from sinew_policies.psl.predictor import PRECISIONS, Predictor
from sinew_policies.psl.resize import resize_and_crop

STEP_LIMIT_MS = 125.0  # 8 frames/s
BATCH = 8


def measure(*, seed: int = 0, repeats: int = 10, batches: bool = True) -> list[Timed]:
    """Untrained networks: the time does not depend on the weights."""
    torch.manual_seed(seed)
    policy = PSLPolicy(PSLConfig.published()).eval()
    predictors = {p: Predictor(policy, device="cpu", precision=p) for p in PRECISIONS}
    rng = stream(seed, "psl bench")
    c = policy.config
    frames = rng.integers(0, 256, (BATCH, c.image_height, c.image_width, 3), np.uint8)
    goals = rng.standard_normal((BATCH, 1, c.clip.code)).astype(np.float32)
    out = []
    for n, name in ((1, "step"), (BATCH, f"step of {BATCH}")) if batches else ((1, "step"),):
        out.append(timed("", f"{name}, plain torch", _plain(policy, frames[:n], goals[:n]), repeats=repeats))
        for precision, predictor in predictors.items():
            session = predictor.start(goals[:n], seed=seed)
            limit = STEP_LIMIT_MS if n == 1 and precision == "float32" else None
            out.append(
                timed(
                    "",
                    f"{name}, {precision}",
                    lambda s=session, n=n: s.step(frames[:n]),
                    repeats=repeats,
                    limit_ms=limit,
                )
            )
    session = predictors["float32"].start(goals[:1], seed=seed)
    out.append(
        timed("", "step, pose seen before", lambda: session.step(frames[0], pose_keys=["pose"]), repeats=repeats)
    )
    return out + _parts(policy, predictors["float32"], torch.from_numpy(frames[:1]), repeats)


def _plain(policy: PSLPolicy, frames: np.ndarray, goals: np.ndarray):  # type: ignore[no-untyped-def]
    """The network as it is defined, without folding or another memory layout."""
    n = len(frames)
    seen = Observation(torch.from_numpy(frames), torch.from_numpy(goals))
    rest = (policy.initial_state(n), torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=torch.bool))
    return torch.inference_mode()(lambda: policy(seen, *rest))


def _parts(policy: PSLPolicy, predictor: Predictor, frame: torch.Tensor, repeats: int) -> list[Timed]:
    c = policy.config
    with torch.inference_mode():
        crop = policy.clip.normalise(resize_and_crop(frame, c.clip.image_size, "bicubic", antialias=False))
        plain = timed("", "part: CLIP tower, plain torch", lambda: policy.clip.visual(crop), repeats=repeats)
        layout = timed(
            "",
            "part: layout branch",
            lambda: policy.net.encode_layout(policy.net.crop_layout(frame)),
            repeats=repeats,
        )
    tower = timed("", "part: resize and CLIP tower", lambda: predictor.encode_frames(frame), repeats=repeats)
    text = timed(
        "", "text goal", lambda: predictor.text_goal("a wooden chair beside a round table"), repeats=repeats
    )
    return [plain, tower, layout, text]


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/bench/psl", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--no-batches", action="store_true", help="single steps only")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    if args.repeats < 1 or args.threads < 1:
        parser.error("repeats and threads must be at least 1")
    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    results = measure(seed=args.seed, repeats=args.repeats, batches=not args.no_batches)
    agreements = [agreement(p) for p in PRECISIONS]
    seconds = time.perf_counter() - start
    _print(results, agreements, args.threads)
    if args.json is not None:
        Report(
            f"tests/bench/psl --seed {args.seed} --repeats {args.repeats} --threads {args.threads}",
            args.seed,
            seconds,
            _metrics(results),
            [r.row() for r in results] + [a.row() for a in agreements],
        ).write(args.json)


def _metrics(results: list[Timed]) -> dict[str, Metric]:
    step = next(r for r in results if r.name == "step, float32").wall
    rate = Metric(1e3 / step.value, 1e3 / step.high, 1e3 / step.low, step.n, "1/s")
    return {"step_frames_per_s": rate, **{r.key: r.wall for r in results if "plain" not in r.name}}


def _print(results: list[Timed], agreements: list[Agreement], threads: int) -> None:
    table = Table(title=f"PSL, {machine()}, {threads} torch thread(s)", title_justify="left")
    for column in ("", "wall best ms", "wall median ms", "CPU median ms", "limit ms", "steps/s"):
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for r in results:
        n = BATCH if f"of {BATCH}" in r.name else 1
        limit = "" if r.limit_ms is None else f"{r.limit_ms:g}{'' if r.wall.value <= r.limit_ms else ' missed'}"
        rate = f"{n * 1e3 / r.wall.value:.1f}" if r.name.startswith("step") else ""
        table.add_row(r.name, f"{min(r.wall_ms):.1f}", f"{r.wall.value:.1f}", f"{r.cpu.value:.1f}", limit, rate)
    console = Console(width=140)
    console.print(table)
    for a in agreements:
        console.print(
            f"{a.precision}: against the recordings, image codes differ by at most {a.code_error:.1e} (their "
            f"spread is {a.code_spread:.3f}), log-probabilities by {a.log_prob_error:.1e}; likeliest action equal "
            f"in {a.same_action} of {a.steps} steps"
        )
