"""Every import follows the arrows of docs/architecture.md, and rclpy stays below ros2_ws."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "sinew_policies": ROOT / "policies",
    "sinew_hardware": ROOT / "hardware",
    "sinew_sim": ROOT / "sim",
    "sinew_nodes": ROOT / "ros2_ws/src/sinew_nodes",
}
SYSTEMS = ("m2t2", "t3", "pearl", "psl")
HARDWARE_FOR_SIM = ("interfaces", "registry", "models", "planning", "safety")
ROS = ("rclpy", "sinew_interfaces", "control_msgs", "tf2_msgs", "sensor_msgs", "geometry_msgs", "std_msgs")


def allowed(importer: str, imported: str) -> bool:
    """Whether the module `importer` may import `imported`, both dotted and one of ours or of ROS."""
    top = importer.split(".")[0]
    target, _, rest = imported.partition(".")
    part = rest.split(".")[0]
    if target in ROS:
        return top == "sinew_nodes"
    match top:
        case "sinew_nodes":
            return True
        case "sinew_policies":
            own = importer.split(".")[1] if "." in importer else ""
            return target == "sinew_policies" and (part in ("", "common") or (own in SYSTEMS and part == own))
        case "sinew_hardware":
            return target == "sinew_hardware" or (target == "sinew_policies" and part in ("", "common"))
        case "sinew_sim":
            if importer.startswith(("sinew_sim.datagen", "sinew_sim.evaluation")):
                return target != "sinew_nodes"
            if target == "sinew_sim":
                return part not in ("datagen", "evaluation")
            if target == "sinew_hardware":
                return part in ("", *HARDWARE_FOR_SIM)
            return target == "sinew_policies" and part in ("", "common")
    return False


def imports(file: Path, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, relative imports resolved."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module or "") if part)
            # `from package import module` imports package.module: the finer name decides.
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def violations(sources: dict[str, Path]) -> list[str]:
    found: list[str] = []
    for top, root in sources.items():
        for file in sorted((root / top).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            for line, name in imports(file, module):
                if name.split(".")[0] in (*SOURCES, *ROS) and not allowed(module, name):
                    found.append(f"{file.relative_to(root)}:{line}: {module} must not import {name}")
    return found


def test_every_import_follows_the_arrows() -> None:
    assert violations(SOURCES) == []


def test_sources_are_where_this_test_looks() -> None:
    for top, root in SOURCES.items():
        assert len(list((root / top).rglob("*.py"))) > 3, f"{root / top} is nearly empty: was it moved?"


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("sinew_policies/common/a.py", "import sinew_hardware.interfaces"),
        ("sinew_policies/common/a.py", "from sinew_policies.m2t2 import network"),
        ("sinew_policies/m2t2/a.py", "from sinew_policies import t3"),
        ("sinew_policies/m2t2/a.py", "from ..t3 import network"),
        ("sinew_hardware/a.py", "from sinew_policies.m2t2.predictor import Predictor"),
        ("sinew_hardware/a.py", "def f():\n    import sinew_sim.cell"),
        ("sinew_sim/cell/a.py", "from sinew_hardware.drivers import panda"),
        ("sinew_sim/cell/a.py", "import sinew_policies.m2t2"),
        ("sinew_sim/cell/a.py", "from sinew_sim.datagen import command"),
        ("sinew_sim/datagen/a.py", "import sinew_nodes"),
        ("sinew_sim/cell/a.py", "import rclpy"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, place: str, statement: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text(statement + "\n")
    assert len(violations({place.split("/")[0]: tmp_path})) == 1


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("sinew_policies/m2t2/a.py", "from sinew_policies.common.errors import DataError"),
        ("sinew_policies/m2t2/a.py", "from . import network"),
        ("sinew_hardware/a.py", "from sinew_policies.common import types"),
        ("sinew_sim/cell/a.py", "from sinew_hardware import models"),
        ("sinew_sim/evaluation/a.py", "from sinew_policies.m2t2 import predictor"),
        ("sinew_nodes/a.py", "import rclpy, sinew_sim.cell"),
    ],
)
def test_an_allowed_import_is_left_alone(tmp_path: Path, place: str, statement: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_text(statement + "\n")
    assert violations({place.split("/")[0]: tmp_path}) == []
