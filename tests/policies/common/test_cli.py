import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew_policies.common import cli
from sinew_policies.common.errors import ConfigError, DataError, MissingExtra


def test_longer_names_come_before_shorter_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "train m2t2 twice", cli.Command("", ""))
    assert cli.resolve(["train", "m2t2", "twice", "--steps"]) == ("train m2t2 twice", ["--steps"])
    assert cli.resolve(["train", "m2t2", "--steps", "3"]) == ("train m2t2", ["--steps", "3"])
    assert cli.resolve(["launch", "pick", "seed:=1"]) == ("launch", ["pick", "seed:=1"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lunch"], r"there is no command 'lunch'; did you mean 'launch'\? valid names: .*doctor"),
        (["train", "m2t3"], r"'train' has no subcommand 'm2t3'; did you mean 'm2t2'\?"),
        (["datagen"], r"'datagen' needs a subcommand; valid names: grasp, .*objects"),
        (["study", "touch"], r"'study touch' needs a subcommand; valid names: deep, light"),
        (["study", "touch", "dep"], r"'study touch' has no subcommand 'dep'; did you mean 'deep'\?"),
        (["study", "tuch", "deep"], r"'study' has no subcommand 'tuch'; did you mean 'touch'\?"),
    ],
)
def test_an_unknown_command_names_the_nearest(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("study touch deep", "study touch light"):
        monkeypatch.setitem(cli.COMMANDS, name, cli.Command("", ""))
    with pytest.raises(ConfigError, match=message):
        cli.resolve(words)


def test_our_errors_are_one_line_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lunch"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("sinew: there is no command 'lunch'")
    assert "Traceback" not in captured.err


def test_a_folder_that_cannot_be_made_is_named_without_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: object) -> int:
        (Path("/proc") / "sinew").mkdir()
        return 0

    monkeypatch.setattr(cli, "load", lambda _: write)
    assert cli.main(["doctor"]) == 2
    assert "'/proc/sinew'; check the path" in capsys.readouterr().err


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_viser_only.py").write_text("import sys; sys.modules['viser'] = None\nimport viser\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "viser", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'sinew-robotics\[view\]'"):
        cli.load("needs_viser_only:main")


def test_an_error_of_our_own_code_is_not_disguised_as_a_missing_extra(tmp_path, monkeypatch) -> None:
    (tmp_path / "needs_nothing_known.py").write_text("import no_such_module_of_ours\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
        cli.load("needs_nothing_known:main")


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert cli.main(["datagen", "touch", "--out", str(out), "--samples", "5"]) == 2
    assert f"Not a directory: '{out}'; check the path and its permissions" in capsys.readouterr().err


def test_a_strangers_name_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: object) -> int:
        raise DataError("entry '\x1b[2J\ud800' is damaged\nsecond line")

    monkeypatch.setattr(cli, "load", lambda _: read)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "sinew: entry '\\x1b[2J\\ud800' is damaged\nsecond line\n"


@pytest.mark.parametrize(
    "ask", [lambda _: bytearray(1 << 62), lambda _: torch.empty(1 << 60), lambda _: np.empty(1 << 55)]
)
def test_more_than_the_memory_holds_is_said_in_one_line(
    ask: Callable[[object], object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load", lambda _: ask)
    assert cli.main(["doctor"]) == 2
    assert re.fullmatch(r"sinew: out of memory \(.*\); take a smaller .*\n", capsys.readouterr().err)


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: object) -> int:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(cli, "load", lambda _: wrong)
    with pytest.raises(RuntimeError, match="shapes differ"):
        cli.main(["doctor"])


def test_a_full_disk_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: object) -> int:
        with Path("/dev/full").open("w") as file:
            file.write("x")
        return 0

    monkeypatch.setattr(cli, "load", lambda _: write)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("sinew: No space left on device: ")
