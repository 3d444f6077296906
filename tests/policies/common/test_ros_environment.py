import os
import subprocess
import sys
from pathlib import Path

from sinew_policies.common import ros_environment

IMPORT = "import sinew_interfaces.msg, control_msgs.action, tf2_msgs.msg, sinew_nodes, rclpy; print('imported')"
BARE = ("AMENT_PREFIX_PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "CMAKE_PREFIX_PATH", ros_environment.GUARD)
BOOTSTRAP = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"


def bare() -> dict[str, str]:
    """The environment of a shell that sourced nothing."""
    return {k: v for k, v in os.environ.items() if k not in (*BARE, BOOTSTRAP)}


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_process_that_sourced_nothing_enters_the_workspace_once() -> None:
    code = (
        "import os; from sinew_policies.common.ros_environment import GUARD, enter_overlay; "
        f"print('start', os.getpid()); enter_overlay(); assert os.environ[GUARD] == str(os.getpid()); {IMPORT}"
    )
    done = run(code, bare())
    assert done.stdout.split()[-1] == "imported", done.stderr
    starts = [line for line in done.stdout.splitlines() if line.startswith("start")]
    assert len(starts) == 2
    assert len(set(starts)) == 1  # the process id is kept, so signals still find it


def test_a_guard_that_leaked_from_a_parent_does_not_stop_a_child() -> None:
    code = f"from sinew_policies.common.ros_environment import enter_overlay; enter_overlay(); {IMPORT}"
    done = run(code, {**bare(), ros_environment.GUARD: "1"})
    assert done.stdout.split()[-1:] == ["imported"], done.stderr


def test_children_inherit_the_environment_and_do_not_start_twice() -> None:
    code = "print('start', flush=True); import sinew_policies.common.ros_environment as r; r.enter_overlay()"
    done = run(code, ros_environment.with_overlay(os.environ))
    assert done.stdout.split() == ["start"]


def test_pytest_runs_inside_the_workspace_and_keeps_its_output(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    file = tmp_path / "test_inner.py"
    file.write_text(f"def test_inner():\n    {IMPORT}\n")
    command = [sys.executable, "-m", "pytest", "-c", str(root / "pyproject.toml"), "-s", str(file)]
    done = subprocess.run(command, env=bare(), capture_output=True, text=True, timeout=120, cwd=root)
    assert "imported" in done.stdout
    assert "1 passed" in done.stdout.splitlines()[-1]


def test_the_overlay_comes_first_and_what_was_there_stays() -> None:
    out = ros_environment.with_overlay({"PYTHONPATH": "/mine", "AMENT_PREFIX_PATH": "/opt/ros/x"})
    assert out["PYTHONPATH"].endswith(":/mine")
    assert out["AMENT_PREFIX_PATH"].split(":")[-1] == "/opt/ros/x"
    assert str(ros_environment.workspace_install() / "sinew_nodes") in out["AMENT_PREFIX_PATH"]
    assert ros_environment.with_overlay(out) == out


def test_a_foreign_interpreter_gets_none_of_our_paths() -> None:
    full = ros_environment.with_overlay({"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/mine", BOOTSTRAP: "1"})
    clean = ros_environment.without_overlay(full)
    assert clean == {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/mine"}


def test_an_unbuilt_workspace_changes_nothing(tmp_path: Path) -> None:
    assert ros_environment.with_overlay({"PATH": "/usr/bin"}, tmp_path) == {"PATH": "/usr/bin"}
