import multiprocessing
import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from policies.common.work_together import Unimportable, fail_at, means

from sinew_policies.common.errors import DataError
from sinew_policies.common.training_processes import TrainingProcessDied, average, run_together


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not multiprocessing.active_children()
    assert not list(tmp_path.glob("sinew-training-*"))


def test_processes_meet_in_their_mean() -> None:
    assert run_together(2, partial(means, 0), means) == ([0.5, 1.0], [2.0])


def test_alone_nothing_changes() -> None:
    x = torch.tensor([3.0])
    average([x])
    assert x.tolist() == [3.0]
    assert run_together(1, lambda: "done", means) == "done"


def test_the_fault_of_another_process_is_told_by_the_first() -> None:
    work = partial(fail_at, failing=1, how="fault")
    with pytest.raises(TrainingProcessDied, match=r"died: shard 7 is torn\. The same command resumes"):
        run_together(2, partial(work, 0), work)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["death", "bug"])
def test_the_death_of_another_process_is_noticed(how: str) -> None:
    work = partial(fail_at, failing=1, how=how)
    with pytest.raises(TrainingProcessDied, match="its message is above"):
        run_together(2, partial(work, 0), work)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "error"), [("fault", DataError), ("bug", RuntimeError)])
def test_a_fault_of_the_first_process_is_raised_as_it_is(how: str, error: type[Exception]) -> None:
    work = partial(fail_at, failing=0, how=how)
    with pytest.raises(error, match=r"torn|differ"):
        run_together(2, partial(work, 0), work)


@pytest.mark.slow
def test_a_process_that_cannot_start_is_noticed() -> None:
    with pytest.raises(TrainingProcessDied, match=r"did not start .* must be importable"):
        run_together(2, lambda: None, Unimportable())
