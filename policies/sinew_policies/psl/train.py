"""Trains a policy in any vectorised environment, in one process (PPO) or several (DD-PPO)."""

from functools import partial

import torch
from torch import Tensor

from sinew_policies.common.compute_device import choose_device
from sinew_policies.common.report import Report
from sinew_policies.common.training_processes import run_together
from sinew_policies.psl.ddppo import Workers
from sinew_policies.psl.trainer import METRICS_FILE, MakeEnvironment, MakeNetwork, TrainConfig, Trainer


def train(config: TrainConfig, make_environment: MakeEnvironment, make_network: MakeNetwork) -> bool:
    """Trains to the end of the schedule (True) or until SIGINT or SIGTERM (False); resumes what `config.out` holds.

    Both factories are called in every worker and, with several, must be importable functions or partials of such.
    Raises ConfigError for an unusable folder or device and for more workers than GPUs, DataError for what an
    environment got wrong, CheckpointError for a state that does not fit, TrainingProcessDied where a worker ended.
    """
    Report.check_writable(config.out / METRICS_FILE)
    choose_device(config.device, config.processes)
    finished = None
    if config.processes > 1:
        finished = torch.zeros(config.processes, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
    work = partial(_train_as, config, make_environment, make_network, finished)
    return run_together(config.processes, partial(work, 0), work, device=config.device)


def _train_as(
    config: TrainConfig,
    make_environment: MakeEnvironment,
    make_network: MakeNetwork,
    finished: Tensor | None,
    rank: int,
) -> bool:
    return Trainer(config, make_environment, make_network, Workers(rank, finished, config.sync_frac)).run()
