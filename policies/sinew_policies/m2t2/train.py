"""`sinew train m2t2`: trains a grasp network on shards of labelled scenes.

Same data, seed, batch, processes and `--steps` give the same weights, also across an interruption and resume.
With `--minutes` the schedule follows the clock instead.
"""

import argparse
import os
import signal
from pathlib import Path
from threading import BrokenBarrierError

import torch
import torch.multiprocessing as mp
from torch import Tensor

from sinew_policies.common.errors import ConfigError, SinewError
from sinew_policies.m2t2.batches import TrainConfig
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.losses import LossConfig
from sinew_policies.m2t2.network import M2T2
from sinew_policies.m2t2.shards import shard_paths
from sinew_policies.m2t2.trainer import Links, Trainer


class TrainingProcessDied(SinewError):
    pass


def main(argv: list[str]) -> int:
    """Exit status 0 when finished, 130 when interrupted (resume with the same command)."""
    parser = argparse.ArgumentParser(prog="sinew train m2t2", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of scenes_*.npz")
    parser.add_argument("--out", type=Path, required=True, help="run folder; resumes what it holds")
    parser.add_argument("--steps", type=int, help="schedule length in steps")
    parser.add_argument("--minutes", type=float, help="schedule length in minutes of training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16, help="scenes per step (default 16)")
    parser.add_argument("--processes", type=int, help="CPU training processes (default: one per core, at most 2)")
    parser.add_argument("--loaders", type=int, help="data workers (default 0 on CPU, 8 on GPU)")
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--mixed", choices=["auto", "on", "off"], default="auto", help="bfloat16 (auto: on a GPU)")
    parser.add_argument("--limit-scenes", type=int, help="use only the first N scenes")
    a = parser.parse_args(argv)
    device = a.device if a.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch finds no usable GPU; use --device auto or cpu")
    cores = len(os.sched_getaffinity(0))
    processes = 1 if on_gpu else (min(2, cores) if a.processes is None else a.processes)
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
    if config.processes == 1:
        return Trainer(config, network, loss, 0, None).run()
    context = mp.get_context("spawn")
    n_parameters = sum(p.numel() for p in M2T2(network).parameters())
    links = Links(
        _shared(torch.zeros(config.processes, n_parameters)),
        _shared(torch.zeros(2, dtype=torch.float64)),
        context.Barrier(config.processes),
    )
    others = [
        context.Process(target=_other_process, args=(config, network, loss, rank, links), daemon=True)
        for rank in range(1, config.processes)
    ]
    # Ctrl-C reaches the whole process group; the others must ignore it from their first instruction on.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for process in others:
        process.start()
    signal.signal(signal.SIGINT, before)
    try:
        finished = Trainer(config, network, loss, 0, links).run()
    except BrokenBarrierError as fault:
        raise TrainingProcessDied(
            "another training process died; its message is above. The same command resumes from the last checkpoint"
        ) from fault
    except BaseException:
        links.barrier.abort()
        raise
    finally:
        for process in others:
            process.join(30.0)
            if process.is_alive():
                process.kill()  # it ignores SIGTERM, and may wait for this one
                process.join()
    return finished


def _shared(tensor: Tensor) -> Tensor:
    return tensor.share_memory_()  # type: ignore[no-untyped-call]


def _other_process(config: TrainConfig, network: M2T2Config, loss: LossConfig, rank: int, links: Links) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first process decides
    try:
        Trainer(config, network, loss, rank, links).run()
    except (SinewError, BrokenBarrierError):
        links.barrier.abort()  # the first process meets the same fault and reports it
    except BaseException:
        links.barrier.abort()
        raise


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
