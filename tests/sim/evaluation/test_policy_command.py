"""Trained policies are played, side by side, on the same layouts; what does not fit the task is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sinew_policies.common import cli
from sinew_policies.pearl.policy import Policy, PolicyConfig, PolicyNetwork

pytest.importorskip("metaworld")


def policy(folder: Path, observation_dim: int = 39, action_dim: int = 4) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PolicyNetwork(PolicyConfig(observation_dim, action_dim, (8,)))
    Policy(network).save(folder, "# Test")
    return str(folder)


def test_policies_play_the_same_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[np.ndarray]] = {}
    act = Policy.act

    def watched(self: Policy, observation: np.ndarray) -> np.ndarray:
        seen.setdefault(id(self), []).append(observation)
        return act(self, observation)

    monkeypatch.setattr(Policy, "act", watched)
    folders = [policy(tmp_path / "a"), policy(tmp_path / "b")]
    words = ["--task", "drawer-open-v3", "--rollouts", "2", "--steps", "3", "--json", str(tmp_path / "p.json")]
    assert cli.main(["eval", "policy", "--policy", *folders, *words]) == 0
    first, second = seen.values()
    np.testing.assert_array_equal(first, second)
    assert len(first) == 6
    report = json.loads((tmp_path / "p.json").read_text())
    assert [row["policy"] for row in report["rows"]] == folders
    assert report["metrics"]["policy_success"]["value"] == 0.0  # untrained, three steps
    assert report["metrics"]["policy_success"]["n"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "drawer"], "'drawer' is not a Meta-World task"),
        (["--task", "reach", "--rollouts", "0"], "--rollouts 0"),
        (["--task", "reach", "--policy", "nowhere"], "nowhere"),
        (["--task", "reach", "--json", "/dev/null/x.json"], "/dev/null"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "policy", "--policy", policy(tmp_path / "p"), *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dims", "message"), [((7, 4), "expects 7 numbers"), ((39, 3), "expected 4 finite numbers")]
)
def test_a_policy_of_another_robot_is_refused(
    dims: tuple[int, int], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = policy(tmp_path / "p", *dims)
    assert cli.main(["eval", "policy", "--policy", folder, "--task", "reach", "--rollouts", "1"]) == 2
    assert message in capsys.readouterr().err
