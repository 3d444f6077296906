import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from policies.t3.touch_sets import SHAPE, write_set

from sinew_policies.t3 import components
from sinew_policies.t3.train import train
from sinew_policies.t3.train_config import TrainConfig
from sinew_policies.t3.trainer import LAST_FOLDER


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    data = tmp_path_factory.mktemp("data")
    write_set(data / "probe", ("cls_cnc",), 24, 8)
    # Without dropout and batch statistics, shares of a batch add up to the batch.
    return TrainConfig("supervise", data, Path(), 4, batch=8, shape=SHAPE, lr=1e-3, validate_every=4)


def test_two_processes_take_the_steps_of_one(config: TrainConfig, tmp_path: Path) -> None:
    assert train(replace(config, out=tmp_path / "one")).finished
    assert train(replace(config, out=tmp_path / "two", processes=2)).finished
    a, b = (components.load(tmp_path / n / LAST_FOLDER).state_dict() for n in ("one", "two"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-5, rtol=1e-3)


@pytest.mark.slow
def test_torchrun_starts_the_same_training(config: TrainConfig, tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom sinew_policies.t3.train import supervise\nraise SystemExit(supervise(sys.argv[1:]))\n"
    )
    shape = ",".join(f"{n}={getattr(SHAPE, n)}" for n in SHAPE.__dataclass_fields__)
    words = ["--data", str(config.data), "--steps", "4", "--batch", "8", "--lr", "1e-3", "--validate-every", "4"]
    words += ["--shape", shape, "--out", str(tmp_path / "out"), "--json", str(tmp_path / "report.json")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*launcher, str(script), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    train(replace(config, out=tmp_path / "one"))
    a, b = (components.load(tmp_path / n / LAST_FOLDER).state_dict() for n in ("one", "out"))
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-5, rtol=1e-3)
    assert json.loads((tmp_path / "report.json").read_text())["command"] == "train t3 supervise"
