"""The figures hold by processor time on one thread, so that another load on the machine does not decide."""

from collections.abc import Iterator

import pytest
import torch
from bench.psl.agreement import agreement
from bench.psl.run import STEP_LIMIT_MS, measure


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_step_keeps_up_with_a_robot_on_two_cores(one_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    results = measure(repeats=7, batches=False)
    with capsys.disabled():
        for r in results:
            print(f"\n{r.name:32s} best {min(r.cpu_ms):9.2f} ms of one core", end="")
    cpu = {r.name: min(r.cpu_ms) for r in results}
    assert cpu["step, float32"] < 2 * STEP_LIMIT_MS
    assert cpu["step, bfloat16"] < cpu["step, float32"] < cpu["step, plain torch"]
    assert cpu["step, pose seen before"] < 0.5 * cpu["step, float32"]


@pytest.mark.slow
def test_both_precisions_agree_with_the_recordings() -> None:
    exact, narrow = agreement("float32"), agreement("bfloat16")
    assert exact.steps > 0
    assert exact.same_action == exact.steps
    assert exact.log_prob_error < 2e-5
    assert narrow.code_error < 0.1 * narrow.code_spread
    assert narrow.log_prob_error < 5e-3
