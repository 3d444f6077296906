"""Which device a training process takes, and which backend its group gets, on machines with and without GPUs."""

from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist

from sinew_policies.common.compute_device import choose_device, training_device
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.training_processes import joined, number_here, run_together

Machine = Callable[[int], list[int]]  # of so many GPUs; the returned list notes which became current


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    chosen: list[int] = []

    def of(gpus: int) -> list[int]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        return chosen

    return of


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []
    monkeypatch.setattr(dist, "init_process_group", lambda backend, *args, **kwargs: asked.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    return asked


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_every_process_takes_a_gpu_of_its_own(machine: Machine, name: str) -> None:
    chosen = machine(3)
    assert [training_device(name, number) for number in range(3)] == [torch.device("cuda", i) for i in range(3)]
    assert chosen == [0, 1, 2]
    assert choose_device(name, 3) == torch.device("cuda")


def test_processes_never_share_a_gpu(machine: Machine) -> None:
    machine(2)
    with pytest.raises(
        ConfigError, match="3 training processes on this machine need a GPU each, but torch finds 2"
    ):
        choose_device("cuda", 3)
    with pytest.raises(ConfigError, match="at most 2, or choose device 'cpu'"):
        training_device("cuda", 2)
    with pytest.raises(ConfigError, match="need a GPU each"):  # before any process starts
        run_together(3, lambda: None, lambda rank: None, device="auto")


@pytest.mark.parametrize(("gpus", "name"), [(0, "auto"), (0, "cpu"), (2, "cpu")])
def test_processes_share_the_cpu(machine: Machine, gpus: int, name: str) -> None:
    chosen = machine(gpus)
    threads = torch.get_num_threads()
    try:
        assert training_device(name, 5) == torch.device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert choose_device(name, 64) == torch.device("cpu")
    assert chosen == []


def test_gpus_average_through_nccl_and_the_cpu_through_gloo(machine: Machine, backends: list[str]) -> None:
    machine(2)
    for device in ("cuda", "cpu"):
        with joined(0, 2, "file:///nowhere", device):
            pass
    assert backends == ["cpu:gloo,cuda:nccl", "gloo"]  # plain tensors of the control go through gloo on both


def test_torchrun_says_the_number_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert number_here(5) == 5
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert number_here(5) == 1
