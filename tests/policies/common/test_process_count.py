import os

import pytest

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.process_count import check_process_count
from sinew_policies.common.training_processes import run_together
from sinew_sim.worker_pool import worker_pool


@pytest.mark.parametrize("count", [-1, 0, 1000])
def test_no_processes_and_more_than_the_machine_bears_are_refused(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    check_process_count(2)
    check_process_count(16)
    with pytest.raises(ConfigError, match=rf"asked for {count} processes on 2 cores; expected 1 to 16"):
        check_process_count(count)
    with pytest.raises(ConfigError, match=f"asked for {count} processes"):
        run_together(count, lambda: None, print)
    with pytest.raises(ConfigError, match=f"asked for {count} processes"), worker_pool(count):
        pass
