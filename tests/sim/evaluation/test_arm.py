"""Rounds told by the child process: what is believed, and what is no round."""

import json

import pytest

from sinew_policies.common.errors import ConfigError, DeviceError
from sinew_sim.evaluation.arm import evaluate, parse_round
from sinew_sim.evaluation.grasp import GraspEvalConfig, metrics

CONFIG = GraspEvalConfig(mode="arm", rounds=1)


def _line(outcomes: list[str], in_bin: int) -> str:
    reasons = ["" if outcome == "success" else f"because {outcome}" for outcome in outcomes]
    told = {"outcomes": outcomes, "reasons": reasons}
    return json.dumps({"seed": 0, "index": 2, "presented": 5, "in_bin": in_bin, "elsewhere": 1, **told})


def test_a_round_becomes_rates() -> None:
    result = parse_round(_line(["success", "no_plan", "success", "missed"], 2), CONFIG)
    found = metrics([result])
    assert found["gsr"].value == pytest.approx(0.5)
    assert found["dr"].value == pytest.approx(0.4)
    assert found["planner_failures"].value == pytest.approx(0.25)


def test_the_simulator_outranks_the_task() -> None:
    result = parse_round(_line(["success", "success", "missed"], 1), CONFIG)
    assert [a.outcome for a in result.attempts] == ["success", "lost", "missed"]
    assert ["" if a.success else a.reason for a in result.attempts] == [
        "",
        "told as a success, but not found in the bin",
        "because missed",
    ]


@pytest.mark.parametrize("line", ["", "nonsense", "{}", "[1]", '{"seed": "x"}'])
def test_what_is_no_round_is_quoted(line: str) -> None:
    with pytest.raises(DeviceError, match="expected a round"):
        parse_round(line, CONFIG)


def test_baselines_have_no_node() -> None:
    config = GraspEvalConfig(mode="arm", rounds=1, policies=("m2t2", "top-down"))
    with pytest.raises(ConfigError, match="--mode floating"):
        evaluate(config)
