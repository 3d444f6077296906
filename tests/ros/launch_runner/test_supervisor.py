"""The runner with real processes: what it prints, whom it starts again, and that it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

READY = "trap 'exit 0' INT TERM; echo ready $$; while true; do sleep 0.05; done"
DEAF = "trap '' INT TERM; echo ready $$; while true; do sleep 0.05; done"


class Launch:
    """A running `sinew launch`, its output read line by line."""

    def __init__(self, file: Path, home: Path, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "sinew_policies.common.cli", "launch", str(file), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ROS_LOG_DIR": str(home)},
        )
        self.lines: list[str] = []

    def until(self, text: str, times: int = 1) -> str:
        """Reads up to the line in which `text` stands for the `times`-th time."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                times -= 1
                if not times:
                    return line.rstrip()
        raise AssertionError(f"'{text}' never came; output:\n" + "\n".join(self.lines))

    def end(self, timeout_s: float = 30.0) -> int:
        rest, _ = self.popen.communicate(timeout=timeout_s)
        self.lines += rest.splitlines()
        return self.popen.returncode

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launch]]:
    running: list[Launch] = []

    def start(body: str, *arguments: str) -> Launch:
        file = tmp_path / "toy.launch.xml"
        file.write_text(f"<launch>\n{body}\n</launch>")
        running.append(Launch(file, tmp_path, *arguments))
        return running[-1]

    yield start
    for one in running:
        if one.popen.poll() is None:
            one.popen.kill()
            one.popen.wait()


def shell(script: str, attributes: str = 'output="screen"') -> str:
    escaped = script.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("$", r"\$")
    return f'<executable cmd="bash -c &quot;{escaped}&quot;" {attributes}/>'


def gone(pid: int, within_s: float = 3.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)  # polls for the kernel's reaping, bounded by the deadline
    return False


@pytest.mark.parametrize("repeat", range(3))
@pytest.mark.parametrize(
    "signals", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["int", "int-int", "term"]
)
def test_a_stop_signal_ends_every_process_and_exits_0_within_5_s(launch, signals, repeat: int) -> None:
    run = launch(shell(READY, 'name="a" output="screen"') + shell(READY, 'name="b" output="screen"'))
    pids = [int(run.until("ready").split()[-1]) for _ in range(2)]
    start = time.monotonic()
    for number in signals:
        run.popen.send_signal(number)
    assert run.end() == 0
    assert time.monotonic() - start < 5.0
    assert all(gone(pid) for pid in pids)


def test_a_program_that_still_starts_ends_at_once_without_a_traceback(launch) -> None:
    """Python raises KeyboardInterrupt wherever it is until a program has its own handlers."""
    body = "print(chr(114) * 3, flush=True); import time; time.sleep(60)"
    run = launch(f'<executable cmd="{sys.executable} -c &quot;{body}&quot;" name="young" output="screen"/>')
    run.until("rrr")
    start = time.monotonic()
    run.popen.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert time.monotonic() - start < 1.4  # before the second signal
    assert "KeyboardInterrupt" not in run.output
    assert "young-1 stopped (killed by SIGTERM)" in run.output


def test_a_program_with_handlers_gets_sigint_first(launch) -> None:
    script = "trap 'echo got INT; exit 0' INT; trap 'echo got TERM; exit 0' TERM; echo ready; "
    run = launch(shell(script + "while true; do sleep 0.05; done"))
    run.until("ready")
    run.popen.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert "got INT" in run.output
    assert "got TERM" not in run.output


def test_a_deaf_process_is_killed_with_all_that_it_started_within_5_s(launch) -> None:
    run = launch(shell("sleep 1000 & echo helper $!; " + DEAF, 'name="deaf" output="screen"'))
    helper = int(run.until("helper").split()[-1])
    pid = int(run.until("ready").split()[-1])
    start = time.monotonic()
    run.popen.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert time.monotonic() - start < 5.0
    assert gone(pid)
    assert gone(helper)
    assert "deaf-1 still runs: SIGTERM" in run.output
    assert "deaf-1 still runs: SIGKILL" in run.output


def test_children_go_when_the_runner_is_killed(launch) -> None:
    run = launch(shell(DEAF))
    pid = int(run.until("ready").split()[-1])
    run.popen.kill()
    run.end()
    assert gone(pid)


def test_a_required_process_that_dies_ends_the_launch_non_zero_and_is_named(launch) -> None:
    run = launch(shell(READY) + shell("sleep 0.3; exit 7", 'name="host" on_exit="shutdown"'))
    pid = int(run.until("ready").split()[-1])
    assert run.end() == 1
    assert "required process host-2 died (exit code 7; " in run.output
    assert gone(pid)


def test_a_required_process_killed_by_a_signal_is_named_with_it(launch) -> None:
    run = launch(shell(READY, 'name="host" output="screen" on_exit="shutdown"'))
    os.kill(int(run.until("ready").split()[-1]), signal.SIGKILL)
    assert run.end() == 1
    assert "required process host-1 died (killed by SIGKILL; " in run.output


def test_a_required_process_that_finishes_well_ends_the_launch_with_0(launch) -> None:
    run = launch(shell(READY) + shell("exit 0", 'name="job" on_exit="shutdown"'))
    assert run.end() == 0


def test_respawn_starts_again_until_the_retries_are_used_up(launch) -> None:
    attributes = 'name="r" output="screen" respawn="true" respawn_delay="0.05" respawn_max_retries="2"'
    run = launch(shell("echo try; exit 4", attributes))
    assert run.end() == 1
    assert sum(line == "[r-1] try" for line in run.lines) == 3
    assert "r-1 died (exit code 4; " in run.output


def test_a_killed_process_comes_back_with_the_same_arguments(launch) -> None:
    run = launch(shell(READY, 'name="r" output="screen" respawn="true"'))
    first = int(run.until("ready").split()[-1])
    os.kill(first, signal.SIGKILL)
    second = int(run.until("ready").split()[-1])
    assert second != first
    assert "r-1 ended (killed by SIGKILL); starting it again in 0 s" in run.output
    run.popen.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert gone(second)


def test_a_process_knows_how_often_it_was_started_again(launch) -> None:
    attributes = 'name="r" output="screen" respawn="true" respawn_max_retries="2"'
    run = launch(shell("echo start ${SINEW_RESPAWN:-first}; exit 4", attributes))
    assert run.end() == 1
    assert [line for line in run.lines if "] start" in line] == [f"[r-1] start {n}" for n in ("first", 1, 2)]


def test_output_is_prefixed_and_the_last_unfinished_line_is_kept(launch) -> None:
    run = launch(shell("echo one; printf two", 'name="w" output="screen"'))
    assert run.end() == 0
    assert "[w-1] one" in run.lines
    assert "[w-1] two" in run.lines


def test_output_log_keeps_stdout_from_the_screen_but_in_the_file(launch, tmp_path: Path) -> None:
    run = launch(shell("echo quiet; echo loud >/dev/stderr", 'name="w" output="log"'))
    run.end()
    assert "[w-1] loud" in run.lines
    assert "quiet" not in run.output
    (log,) = tmp_path.glob("*/launch.log")
    assert "[w-1] quiet" in log.read_text()


def test_timer_log_and_shutdown_tags_act(launch) -> None:
    run = launch(shell(READY) + '<timer period="0.2"><log message="enough"/><shutdown reason="seen all"/></timer>')
    assert run.end() == 0
    assert "[launch] enough" in run.lines
    assert "stopping 1 processes: seen all" in run.output


def test_a_mistake_starts_nothing_and_exits_2(launch, tmp_path: Path) -> None:
    run = launch(shell(f"touch {tmp_path}/started") + '\n<nod pkg="x" exec="y"/>')
    assert run.end() == 2
    assert f"sinew: {tmp_path}/toy.launch.xml:3: unknown tag <nod>" in run.output
    assert "Traceback" not in run.output
    assert not (tmp_path / "started").exists()


def test_a_program_that_does_not_exist_is_named_and_the_rest_stopped(launch) -> None:
    run = launch(shell(READY) + '\n<executable cmd="/no/such/program"/>')
    assert run.end() == 2
    assert "toy.launch.xml:3: cannot start '/no/such/program'" in run.output


def test_every_launch_stays_on_this_machine_unless_told_otherwise(launch, monkeypatch) -> None:
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE", raising=False)
    show = "env | grep -E '^(ROS_AUTOMATIC|FASTDDS_DEFAULT)'"
    run = launch(shell(show))
    run.end()
    assert any(line.endswith("ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST") for line in run.lines)
    assert "FASTDDS_DEFAULT_PROFILES_FILE=/" in run.output
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    run = launch(shell(show))
    run.end()
    assert any(line.endswith("ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET") for line in run.lines)
