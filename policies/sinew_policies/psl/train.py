"""Trains a policy in any vectorised environment, in one process (PPO) or several (DD-PPO)."""

import signal
import tempfile
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch
import torch.multiprocessing as mp
from torch import Tensor

from sinew_policies.common.errors import ConfigError, SinewError
from sinew_policies.common.report import Report
from sinew_policies.psl.ddppo import Links, Workers
from sinew_policies.psl.trainer import METRICS_FILE, MakeEnvironment, MakeNetwork, TrainConfig, Trainer

START_TIMEOUT_S = 300.0
NOT_STARTED = -1


class TrainingWorkerDied(SinewError):
    pass


def train(config: TrainConfig, make_environment: MakeEnvironment, make_network: MakeNetwork) -> bool:
    """Trains to the end of the schedule (True) or until SIGINT or SIGTERM (False); resumes what `config.out` holds.

    Both factories are called in every worker and, with several, must be importable functions or partials of such.
    Raises ConfigError for an unusable folder or device, DataError for what an environment got wrong,
    CheckpointError for a state that does not fit, TrainingWorkerDied where a worker ended by other means.
    """
    Report.check_writable(config.out / METRICS_FILE)
    if config.device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"device is '{config.device}', but torch finds no usable GPU; use cpu")
    if config.processes == 1:
        return Trainer(config, make_environment, make_network, Workers()).run()
    with tempfile.TemporaryDirectory(prefix="sinew-ddppo-") as folder:
        return _train_many(config, make_environment, make_network, Path(folder))


def _train_many(
    config: TrainConfig, make_environment: MakeEnvironment, make_network: MakeNetwork, folder: Path
) -> bool:
    finished = torch.full((config.processes,), NOT_STARTED).share_memory_()  # type: ignore[no-untyped-call]
    links = Links(folder / "rendezvous", finished, config.processes)
    context = mp.get_context("spawn")
    others = [
        context.Process(target=_worker, args=(config, make_environment, make_network, rank, links), daemon=True)
        for rank in range(1, config.processes)
    ]
    # Ctrl-C reaches the whole process group; the others must ignore it from their first instruction on.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for process in others:
        process.start()
    signal.signal(signal.SIGINT, before)
    try:
        _await(others, finished)
        return _run(config, make_environment, make_network, 0, links)
    except RuntimeError as fault:  # gloo's, when a worker has gone
        for process in others:
            process.join(10.0)
        said = [path.read_text() for path in sorted(folder.glob("fault.*"))]
        reason = "; ".join(said) or f"its message is above ({fault})"
        raise TrainingWorkerDied(
            f"a training worker ended: {reason}. The same command resumes from the last checkpoint"
        ) from fault
    finally:
        for process in others:
            process.join(10.0)
            if process.is_alive():
                process.kill()  # it ignores SIGTERM, and may wait for this one
                process.join()


def _await(others: list[SpawnProcess], finished: Tensor) -> None:
    """Returns when every other worker runs. Raises TrainingWorkerDied where one ended before or none came."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while bool((finished[1:] == NOT_STARTED).any()):
        if any(not process.is_alive() for process in others) or time.monotonic() > deadline:
            raise TrainingWorkerDied(
                f"a training worker did not start within {START_TIMEOUT_S:.0f} s or ended at once; its message is "
                "above. The factories of environment and network must be importable in a new process"
            )
        time.sleep(0.02)


def _run(
    config: TrainConfig, make_environment: MakeEnvironment, make_network: MakeNetwork, rank: int, links: Links
) -> bool:
    workers = Workers(rank, links, config.sync_frac)
    try:
        return Trainer(config, make_environment, make_network, workers).run()
    finally:
        workers.close()


def _worker(
    config: TrainConfig, make_environment: MakeEnvironment, make_network: MakeNetwork, rank: int, links: Links
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the first worker decides
    links.finished[rank] = 0
    try:
        _run(config, make_environment, make_network, rank, links)
    except SinewError as fault:
        (links.rendezvous.parent / f"fault.{rank}").write_text(str(fault))
        raise SystemExit(1) from fault
