"""A process of nodes: it ends clean on a signal, and a respawned one that nobody finds ends itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

pytestmark = pytest.mark.ros

NODE = """
import rclpy
from dataclasses import dataclass
from sinew_nodes import spin
from sinew_nodes.base import SinewNode

@dataclass(frozen=True)
class Config:
    pass

class Quiet(SinewNode):
    config_type = Config

def make():
    node = Quiet("quiet")
    print("made", flush=True)
    if ASKED:
        node.trigger_configure()
    return [node]

spin.BRING_UP_S = 0.6
spin.run(make)
"""


@pytest.fixture
def start(_ros: None) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def start(*, asked: bool, **environment: str) -> subprocess.Popen[str]:
        code = NODE.replace("ASKED", str(asked))
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(child)
        return child

    yield start
    for child in running:
        child.kill()
        child.communicate()


def test_a_respawned_node_that_nobody_configures_ends_with_the_reason(start) -> None:
    child = start(asked=False, SINEW_RESPAWN="1")
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "node 'quiet' was started again, but nobody configured it" in errors


@pytest.mark.parametrize(("asked", "environment"), [(True, {"SINEW_RESPAWN": "1"}), (False, {})])
def test_any_other_node_stays_until_its_signal(start, asked: bool, environment: dict[str, str]) -> None:
    child = start(asked=asked, **environment)
    assert child.stdout is not None
    assert child.stdout.readline() == "made\n"
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=2.0)
    child.send_signal(signal.SIGTERM)
    out, errors = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "Traceback" not in out + errors
