"""Parameters from dataclasses: ranges, choices, whole numbers for doubles, unknown names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter

from sinew_nodes import params
from sinew_nodes.params import parameter
from sinew_policies.common.errors import ConfigError

pytestmark = pytest.mark.ros


@dataclass(frozen=True)
class Config:
    rate_hz: float = parameter(30.0, "images per second", low=1.0, high=120.0)
    mode: str = parameter("fast", "how to run", choices=("fast", "exact"))
    joints: tuple[str, ...] = parameter(("a", "b"), "names")
    count: int = parameter(3, "how many", low=0, high=5)
    gain: float = parameter(1.0, "how strong", live=True)


@pytest.fixture
def make(_ros: None) -> Iterator[Any]:
    made: list[Node] = []

    def build(**overrides: object) -> Node:
        given = [Parameter(name, value=value) for name, value in overrides.items()]
        made.append(Node("configured", parameter_overrides=given))
        return made[-1]

    yield build
    for node in made:
        node.destroy_node()


def test_defaults_and_overrides(make: Any) -> None:
    node = make(rate_hz=60, joints=["x"])
    params.declare(node, Config)
    assert params.read(node, Config) == Config(rate_hz=60.0, joints=("x",))
    descriptor = node.describe_parameter("rate_hz")
    assert descriptor.description == "images per second"
    assert descriptor.floating_point_range[0].to_value == 120.0


@pytest.mark.parametrize(
    ("overrides", "text"),
    [({"rate_hz": 500.0}, "rate_hz"), ({"count": "many"}, "count"), ({"rate_hz": "quick"}, "images per second")],
)
def test_impossible_overrides_name_the_parameter(make: Any, overrides: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        params.declare(make(**overrides), Config)


def test_choices_are_enforced_at_start_and_later(make: Any) -> None:
    node = make(mode="fsat")
    params.declare(node, Config)
    with pytest.raises(ConfigError, match="did you mean 'fast'"):
        params.read(node, Config)
    result = node.set_parameters([Parameter("mode", value="exacto")])[0]
    assert not result.successful
    assert "did you mean 'exact'" in result.reason
    assert node.set_parameters([Parameter("mode", value="exact")])[0].successful
    assert not node.set_parameters([Parameter("rate_hz", value=0.1)])[0].successful


def test_what_was_read_at_configuration_stays_while_the_node_runs(make: Any) -> None:
    node, running = make(), False
    params.declare(node, Config, lambda: running)
    assert node.set_parameters([Parameter("rate_hz", value=20.0)])[0].successful
    running = True
    for name, value in (("rate_hz", 10.0), ("joints", ["c"])):
        result = node.set_parameters([Parameter(name, value=value)])[0]
        assert not result.successful
        assert f"parameter '{name}' stays" in result.reason
        assert "clean up /configured" in result.reason
    assert node.get_parameter("rate_hz").value == 20.0
    same = [Parameter("rate_hz", value=20.0), Parameter("joints", value=["a", "b"])]
    assert all(r.successful for r in node.set_parameters(same))
    assert node.set_parameters([Parameter("gain", value=2.0)])[0].successful
