import io
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from rich.console import Console

from sinew_policies.common import training_run
from sinew_policies.common.errors import CheckpointError
from sinew_policies.common.training_run import STATE_FILE, interrupts, progress, resume, save_state

SETTINGS = "seed: 3\nlr: 0.1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_the_second_ends_and_afterwards_all_is_as_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupts() as received:
        assert received == []
        os.kill(os.getpid(), number)
        assert received == [number]
        assert signal.getsignal(number) == signal.SIG_DFL
    assert signal.getsignal(number) is before
    with interrupts(listening=False) as received:
        assert signal.getsignal(number) is before


def test_a_state_returns_and_says_which_settings_differ(tmp_path: Path) -> None:
    found: list[Mapping[str, object]] = []
    assert not resume(tmp_path, SETTINGS, found.append)
    save_state(tmp_path / "run", SETTINGS, {"step": 5, "w": torch.arange(3.0)})
    assert [p.name for p in (tmp_path / "run").iterdir()] == [STATE_FILE]
    assert resume(tmp_path / "run", SETTINGS, found.append)
    assert found[0]["step"] == 5
    torch.testing.assert_close(found[0]["w"], torch.arange(3.0))
    with pytest.raises(CheckpointError, match=r"'lr: 0\.1' instead of 'lr: 0\.2'; use those"):
        resume(tmp_path / "run", "seed: 3\nlr: 0.2", found.append)
    assert len(found) == 1


def test_states_that_cannot_be_used_are_refused_in_words(tmp_path: Path) -> None:
    refused = rf"(?s)cannot resume from .*{STATE_FILE} .*choose another --out, or delete the folder"
    save_state(tmp_path, SETTINGS, {"network": {"w": torch.ones(2)}})
    with pytest.raises(CheckpointError, match=refused):
        resume(tmp_path, SETTINGS, lambda state: torch.nn.Linear(2, 2).load_state_dict(state["network"]))
    content = (tmp_path / STATE_FILE).read_bytes()
    for damaged in (b"rubbish", content[: len(content) // 2], b""):
        (tmp_path / STATE_FILE).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=refused):
            resume(tmp_path, SETTINGS, lambda state: None)


def test_settings_whose_text_is_endless_are_not_written_out(tmp_path: Path) -> None:
    endless: list = []
    for _ in range(60):
        endless = [endless, endless]
    torch.save({"settings": endless, "training": {}}, tmp_path / STATE_FILE)
    with pytest.raises(CheckpointError, match="its settings are a list, expected text"):
        resume(tmp_path, SETTINGS, lambda state: None)


def test_without_a_terminal_progress_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "_SAY_EVERY_S", 0.0)
    written = io.StringIO()
    with progress(Console(file=written, width=80), 4.0, 1.0) as show:
        show(3.0, "loss 0.5")
    assert "75.0 % loss 0.5" in written.getvalue()
    silent = io.StringIO()
    with progress(Console(file=silent, quiet=True), 4.0) as show:
        show(3.0, "loss 0.5")
    assert silent.getvalue() == ""
