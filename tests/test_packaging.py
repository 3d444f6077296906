"""One version everywhere, everything pinned, every named command and node there."""

import importlib.util
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from sinew_policies.common.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = sorted(ROOT.glob("ros2_ws/src/**/package.xml"))


@pytest.mark.parametrize("manifest", PACKAGES, ids=lambda path: path.parent.name)
def test_every_ros_package_has_the_version_and_licence_of_the_project(manifest: Path) -> None:
    root = ET.parse(manifest).getroot()
    assert root.findtext("version") == PROJECT["version"]
    assert root.findtext("license") == PROJECT["license"]
    assert root.findtext("name") == manifest.parent.name


def test_all_ros_packages_are_found() -> None:
    names = {path.parent.name for path in PACKAGES}
    assert names >= {
        "sinew_interfaces",
        "sinew_nodes",
        "sinew_bringup",
        "sinew_description",
        "tf2_msgs",
        "control_msgs",
    }


def test_the_node_package_has_the_version_too() -> None:
    text = (ROOT / "ros2_ws/src/sinew_nodes/setup.py").read_text()
    assert re.findall(r'version="([^"]+)"', text) == [PROJECT["version"]]


def test_every_constraint_is_an_exact_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line) for line in lines)
    names = [_normal(line.split("==")[0]) for line in lines]
    assert len(names) == len(set(names))


def test_everything_the_project_asks_for_is_pinned() -> None:
    pinned = {_normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    asked = [*PROJECT["dependencies"], *(p for extra in PROJECT["optional-dependencies"].values() for p in extra)]
    missing = {_normal(re.split(r"[<>=!~\[; ]", package)[0]) for package in asked} - pinned
    assert not missing


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_has_its_function(name: str) -> None:
    module, _, function = COMMANDS[name].target.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert re.search(rf"^def {function}\(", Path(spec.origin).read_text(), re.MULTILINE)


def test_every_console_script_of_the_nodes_has_its_module() -> None:
    folder = ROOT / "ros2_ws/src/sinew_nodes"
    block = re.search(r"NODES = \((.*?)\)", (folder / "setup.py").read_text(), re.DOTALL)
    assert block is not None
    names = re.findall(r'"(\w+)"', block[1])
    assert names == sorted(names)
    for name in names:
        assert "def main(" in (folder / "sinew_nodes" / f"{name}.py").read_text()


def test_the_command_starts_without_ros_torch_or_simulator() -> None:
    code = (
        "import sys; from sinew_policies.common import cli; cli.main(['--help']); "
        "print([m for m in ('rclpy', 'torch', 'mujoco', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
