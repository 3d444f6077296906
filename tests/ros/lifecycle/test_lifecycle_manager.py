"""The manager against real lifecycle nodes in real processes, started by the runner's own process class."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sinew_policies.common.dds import dds_environment, free_domain

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

NODE = """
import sys
from dataclasses import dataclass
from sinew_nodes import spin
from sinew_nodes.base import SinewNode
from sinew_nodes.params import parameter
from sinew_policies.common.errors import ConfigError

@dataclass(frozen=True)
class Config:
    broken: bool = parameter(False, "refuse to be configured")

class Toy(SinewNode):
    config_type = Config
    def build(self, config):
        print("built", self.get_name(), flush=True)
        if config.broken:
            raise ConfigError("the toy is broken; mend it")
    def start(self):
        print("started", self.get_name(), flush=True)
    def stop(self):
        print("stopped", self.get_name(), flush=True)

sys.exit(spin.run(lambda: [Toy("toy")]))
"""

Start = Callable[..., "Process"]


class Process:
    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as out:
            self.popen = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)

    def until(self, text: str, timeout_s: float = 30.0, times: int = 1) -> str:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.log.read_text()
            if found.count(text) >= times:
                return found
            time.sleep(0.02)  # polls the log, bounded by the deadline
        raise AssertionError(f"'{text}' never came; log:\n{self.log.read_text()}")

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(timeout=20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    environment = {**os.environ, **dds_environment(os.environ), "PYTHONUNBUFFERED": "1"}
    environment["ROS_DOMAIN_ID"] = str(free_domain({}))
    script = tmp_path / "toy.py"
    script.write_text(NODE)
    running: list[Process] = []

    def toy(name: str, *ros_args: str) -> Process:
        command = [sys.executable, str(script), "--ros-args", "-r", f"__node:={name}", *ros_args]
        return run(command)

    def manager(*names: str, ros_args: tuple[str, ...] = ()) -> Process:
        command = [sys.executable, "-m", "sinew_nodes.lifecycle_manager", "--ros-args"]
        return run([*command, "-p", f"node_names:=[{', '.join(names)}]", *ros_args])

    def run(command: list[str]) -> Process:
        running.append(Process(command, environment, tmp_path / f"{len(running)}.log"))
        return running[-1]

    def import_forever() -> Process:
        code = "import sinew_nodes, time; print('importing', flush=True); time.sleep(60)"
        return run([sys.executable, "-c", code, "--ros-args"])

    toy.manager = manager  # type: ignore[attr-defined]
    toy.import_forever = import_forever  # type: ignore[attr-defined]
    yield toy
    for process in running:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


def wait_for_pidfds(pid: int, count: int, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        links = [str(f.readlink()) for f in Path(f"/proc/{pid}/fd").iterdir() if f.is_symlink()]
        if sum("pidfd" in link for link in links) >= count:
            return
        time.sleep(0.02)  # polls the kernel's table, bounded by the deadline
    raise AssertionError(f"process {pid} never watched {count} processes")


def test_nodes_come_up_in_order_whatever_the_order_of_their_start(start: Start) -> None:
    second = start("second")
    manager = start.manager("first", "second")  # type: ignore[attr-defined]
    manager.until("waiting for node 'first'", timeout_s=40)
    assert "built" not in second.log.read_text()
    first = start("first")
    log = manager.until("all 2 nodes are active")
    assert log.index("node 'first' is active") < log.index("node 'second' is active")
    first.until("started first")
    second.until("started second")
    assert manager.end() == 0
    second.until("stopped second")  # the manager deactivates what it brought up
    first.until("stopped first")


def test_a_node_that_refuses_is_named_with_its_reason(start: Start) -> None:
    start("sound")
    start("ill", "-p", "broken:=true")
    manager = start.manager("sound", "ill")  # type: ignore[attr-defined]
    log = manager.until("node 'ill' cannot be brought up")
    assert "node 'ill' cannot be brought up: cannot configure: the toy is broken; mend it" in log
    assert manager.end() == 0


def test_exit_on_failure_ends_with_1(start: Start) -> None:
    start("ill", "-p", "broken:=true")
    manager = start.manager("ill", ros_args=("-p", "exit_on_failure:=true"))  # type: ignore[attr-defined]
    assert manager.popen.wait(timeout=40) == 1
    assert "node 'ill' cannot be brought up" in manager.log.read_text()


def test_a_respawned_node_that_refuses_does_not_end_the_others(start: Start) -> None:
    victim = start("victim")
    manager = start.manager("victim", ros_args=("-p", "exit_on_failure:=true"))  # type: ignore[attr-defined]
    manager.until("all 1 nodes are active")
    wait_for_pidfds(manager.popen.pid, 2)
    victim.popen.kill()
    manager.until("node 'victim' is gone", timeout_s=5)
    start("victim", "-p", "broken:=true")
    manager.until("node 'victim' cannot be brought up")
    assert manager.end() == 0


def test_a_killed_node_is_named_at_once_and_brought_up_again_when_it_is_back(start: Start) -> None:
    steady = start("steady")
    victim = start("victim")
    manager = start.manager("victim", "steady")  # type: ignore[attr-defined]
    manager.until("all 2 nodes are active")
    wait_for_pidfds(
        manager.popen.pid, 3
    )  # itself as well: the watch learns the processes from the nodes' diagnostics
    killed_s = time.monotonic()
    victim.popen.kill()
    manager.until("node 'victim' is gone", timeout_s=5)
    assert time.monotonic() - killed_s < 2.0
    again = start("victim")
    again.until("started victim")
    manager.until("all 2 nodes are active", times=2)
    assert steady.log.read_text().count("started steady") == 1
    assert manager.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_stopped_while_it_imports_goes_quietly(start: Start, number: signal.Signals) -> None:
    node = start.import_forever()  # type: ignore[attr-defined]
    node.until("importing")
    assert node.end(number) == 0
    assert "Traceback" not in node.log.read_text()
