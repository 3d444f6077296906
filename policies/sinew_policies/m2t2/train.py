"""`sinew train m2t2`: trains a grasp network on shards of labelled scenes.

Same data, seed, batch, processes and `--steps` give the same weights, also across an interruption and resume.
With `--minutes` the schedule follows the clock instead.
"""

import argparse
import os
from functools import partial
from pathlib import Path

from sinew_policies.common.compute_device import DEVICES, choose_device
from sinew_policies.common.training_processes import run_together
from sinew_policies.m2t2.batches import TrainConfig
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.losses import LossConfig
from sinew_policies.m2t2.shards import shard_paths
from sinew_policies.m2t2.trainer import Trainer


def main(argv: list[str]) -> int:
    """Exit status 0 when finished, 130 when interrupted (resume with the same command)."""
    parser = argparse.ArgumentParser(prog="sinew train m2t2", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of scenes_*.npz")
    parser.add_argument("--out", type=Path, required=True, help="run folder; resumes what it holds")
    parser.add_argument("--steps", type=int, help="schedule length in steps")
    parser.add_argument("--minutes", type=float, help="schedule length in minutes of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16, help="scenes per step (default 16)")
    parser.add_argument(
        "--processes", type=int, help="default 1 on GPU, where each takes its own; on CPU one per core, at most 2"
    )
    parser.add_argument("--loaders", type=int, help="data workers (default 0 on CPU, 8 on GPU)")
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--mixed", choices=["auto", "on", "off"], default="auto", help="bfloat16 (auto: on a GPU)")
    parser.add_argument("--limit-scenes", type=int, help="use only the first N scenes")
    a = parser.parse_args(argv)
    device = choose_device(a.device, a.processes or 1).type
    on_gpu = device == "cuda"
    cores = len(os.sched_getaffinity(0))
    processes = (1 if on_gpu else min(2, cores)) if a.processes is None else a.processes
    config = TrainConfig(
        a.data,
        a.out,
        a.steps,
        a.minutes,
        a.seed,
        a.batch,
        processes,
        (8 if on_gpu else 0) if a.loaders is None else a.loaders,
        a.lr,
        mixed=a.mixed == "on" or (a.mixed == "auto" and on_gpu),
        device=device,
        limit_scenes=a.limit_scenes,
    )
    finished = train(config, M2T2Config.small(), LossConfig.small())
    return 0 if finished else 130


def train(config: TrainConfig, network: M2T2Config, loss: LossConfig) -> bool:
    """Trains to the end of the schedule (True) or until SIGINT or SIGTERM (False), checkpointing on the way."""
    shard_paths(config.data)  # before anything starts
    config.out.mkdir(parents=True, exist_ok=True)
    work = partial(_train_as, config, network, loss)
    return run_together(config.processes, partial(work, 0), work, device=config.device)


def _train_as(config: TrainConfig, network: M2T2Config, loss: LossConfig, rank: int) -> bool:
    return Trainer(config, network, loss, rank).run()


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
