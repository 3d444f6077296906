import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from policies.t3.touch_sets import SHAPE, write_set

from sinew_policies.common import cli
from sinew_policies.common.training_run import STATE_FILE
from sinew_policies.t3.trainer import BEST_FOLDER

SHAPE_WORDS = ",".join(f"{n}={getattr(SHAPE, n)}" for n in SHAPE.__dataclass_fields__)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_set(folder / "key", ("pose_estimation_6d_mini",), 24, 12, indenters=("key",))
    write_set(folder / "probe", ("cls_cnc", "variance_estimation"), 24, 12)
    return folder


def run(stage: str, data: Path, out: Path, *words: str) -> int:
    short = ("--steps", "2", "--batch", "8", "--validate-every", "1", "--lr", "1e-3", "--json", f"{out}.json")
    return cli.main(["train", "t3", stage, "--data", str(data), "--out", str(out), *short, *words])


def test_the_three_stages_and_their_reports(data: Path, tmp_path: Path) -> None:
    assert run("pretrain", data, tmp_path / "pre", "--shape", SHAPE_WORDS) == 0
    assert run("supervise", data, tmp_path / "sup", "--from", str(tmp_path / "pre" / BEST_FOLDER)) == 0
    start = (
        "--from",
        str(tmp_path / "sup" / BEST_FOLDER),
        "--freeze-encoder",
        "--freeze-trunk",
        "--unfreeze-at",
        "1",
    )
    assert run("finetune", data, tmp_path / "fin", "--task", "pose_estimation_6d_mini", *start) == 0

    pre, sup, fin = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("pre", "sup", "fin"))
    assert [r["command"] for r in (pre, sup, fin)] == [
        f"train t3 {s}" for s in ("pretrain", "supervise", "finetune")
    ]
    assert set(pre["metrics"]) == {"validation_loss"}
    assert set(fin["metrics"]) == {"validation_loss", "translation_rmse", "rotation_rmse"}
    assert fin["metrics"]["translation_rmse"]["unit"] == "mm"
    row = fin["rows"][0]
    assert row["source"] == "key/pose_estimation_6d_mini"
    assert row["translation_rmse_of_mean"]["low"] < row["translation_rmse_of_mean"]["value"]
    assert "probe_cls_cnc_accuracy" in sup["metrics"]
    assert "probe_variance_estimation_rmse" in sup["metrics"]
    assert [r["step"] for r in sup["rows"] if "step" in r] == [1, 2]


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        ("supervise", ["--shape", "widht=32"], r"there is no setting 'widht'; did you mean 'width'\?"),
        ("supervise", ["--shape", "width"], "'width' in --shape has no '='"),
        ("supervise", ["--shape", "width=wide"], "--shape width is 'wide'; expected a number"),
        ("supervise", ["--shape", "width=30,n_heads=4"], "width 30 with 4 attention heads"),
        ("supervise", ["--tasks", "cls_cn"], "no set has labels for cls_cn"),
        ("supervise", ["--sets", "kye"], "has no set kye; it holds: key, probe"),
        ("supervise", ["--batch", "100"], "has 24 samples, fewer than a batch of 100"),
        ("supervise", ["--from", "/nowhere", "--shape", "dropout=0"], "component folder /nowhere does not exist"),
        ("supervise", ["--from", "/nowhere", "--shape", "width=32"], "--shape width=32 contradicts --from"),
        ("finetune", ["--task", "cls_cnc", "--freeze-trunk"], "name a component folder to start from with --from"),
        ("pretrain", ["--mix", "best"], "unknown mixing rule 'best'"),
    ],
)
def test_bad_words_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str, words: list[str], message: str
) -> None:
    given = ["--shape", SHAPE_WORDS, *words] if "--shape" not in words else words
    code = run(stage, data, tmp_path / "out", *given)
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert error.startswith("sinew: ")
    assert re.search(message, error)
    assert list(tmp_path.iterdir()) == []  # nothing was begun


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_after_a_step_and_the_same_command_goes_on(data: Path, tmp_path: Path, processes: int) -> None:
    out = tmp_path / "out"
    words = ["--data", str(data), "--out", str(out), "--batch", "8", "--shape", SHAPE_WORDS, "--steps", "100000"]
    command = [sys.executable, "-m", "sinew_policies.common.cli", "train", "t3", "supervise", *words]
    command += ["--processes", str(processes), "--validate-every", "5"]
    for first in (0, 1):
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert process.stderr is not None
        said = ""
        while "validation loss" not in said:  # ends with the process at the latest
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=120)[1]
        assert process.returncode == 130, said + rest
        assert f"the same command goes on with what is in {out}" in rest
        assert ("resuming at step" in said) == bool(first)
        assert (out / STATE_FILE).is_file()
        assert not list(out.glob(".*"))
