"""The clutter-removal protocol and its figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import checkpoint
from sinew_policies.common.errors import ConfigError
from sinew_policies.common.types import Grasp, GraspSet
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.predictor import Predictor
from sinew_sim.evaluation.clutter import Attempt, RoundResult, RoundSpec, run_round
from sinew_sim.evaluation.command import main
from sinew_sim.evaluation.grasp import GraspEvalConfig, build_report, evaluate, metrics
from sinew_sim.evaluation.policies import BASELINES, Observation, OracleAntipodal, RandomAntipodal, make_policy


class _Nothing:
    name = "nothing"

    def propose(self, seen: Observation, seed: int) -> GraspSet:
        return GraspSet((), "base_link", 0)


class _Stubborn:
    """Always closes on the same spot of empty air."""

    name = "stubborn"

    def __init__(self, n: int) -> None:
        self.asked = 0
        self._n = n

    def propose(self, seen: Observation, seed: int) -> GraspSet:
        self.asked += 1
        T = np.diag([1.0, -1.0, -1.0, 1.0])
        grasps = []
        for k in range(self._n):
            T = T.copy()
            T[:3, 3] = (0.36, -0.14 + 0.05 * k, 0.55)
            grasps.append(Grasp(T, 0.02, 0.9 - 0.1 * k, T[:3, 3]))
        return GraspSet(tuple(grasps), "base_link", 0)


def _round(success: list[bool], outcome: str = "missed") -> RoundResult:
    attempts = tuple(
        Attempt("o", "box", s, "success" if s else outcome, not s, 0.5, (("camera", 10.0),)) for s in success
    )
    return RoundResult(RoundSpec("packed", 0, 0), "m2t2", 5, sum(success), 0, attempts)


def test_no_grasp_found_counts_as_attempts_and_ends_the_round() -> None:
    result = run_round(RoundSpec("packed", 0, 0, n_objects=2), _Nothing())
    assert [a.outcome for a in result.attempts] == ["no_grasp", "no_grasp"]
    assert (result.presented, result.cleared) == (2, 0)


def test_a_failed_grasp_is_not_repeated() -> None:
    # The first fails; the second choice is executed next; two failures in a row end the round.
    twice = run_round(RoundSpec("packed", 0, 0, n_objects=1), _Stubborn(2))
    assert [(a.outcome, a.score) for a in twice.attempts] == [("missed", 0.9), ("missed", pytest.approx(0.8))]
    once = run_round(RoundSpec("packed", 0, 0, n_objects=1), _Stubborn(1))
    assert [a.outcome for a in once.attempts] == ["missed", "no_grasp"]


def test_oracle_clears_a_round_the_same_way_twice() -> None:
    spec = RoundSpec("packed", 1, 0, n_objects=3)
    first, second = (run_round(spec, OracleAntipodal()) for _ in range(2))

    def story(r: RoundResult) -> list[tuple[str, bool, float]]:
        return [(a.object_name, a.success, a.score) for a in r.attempts]

    assert story(first) == story(second)
    assert first.cleared == 3
    assert all(a.object_name.startswith("test_") for a in first.attempts)  # never a training object


def test_a_weights_folder_plays_a_round_through_the_ros_chain(tmp_path: Path) -> None:
    config = M2T2Config.small()
    network = Predictor.random(config).network
    checkpoint.save(tmp_path / "w", network.state_dict(), config, "untrained")
    result = run_round(RoundSpec("packed", 3, 0, n_objects=1), make_policy("m2t2", tmp_path / "w"))
    assert result.policy == "m2t2"
    assert result.attempts
    stages = dict(result.attempts[0].stage_ms)
    assert {"camera", "network", "filter", "proposal"} <= set(stages)
    assert all(np.isfinite(ms) and ms >= 0.0 for ms in stages.values())


def test_random_antipodal_proposes_filtered_grasps_from_the_cloud() -> None:
    result = run_round(RoundSpec("pile", 2, 0, n_objects=2), RandomAntipodal())
    assert result.attempts
    assert all(a.outcome != "no_grasp" or not a.success for a in result.attempts)


def test_rates_follow_the_protocol() -> None:
    results = [_round([True] * 5), _round([True, False, True, False, False])]
    found = metrics(results)
    assert found["gsr"].value == pytest.approx(7 / 10)
    assert found["dr"].value == pytest.approx(7 / 10)
    assert found["collisions"].value == pytest.approx(3 / 10)
    assert found["latency_camera_p50_ms"].value == 10.0
    assert metrics([_round([False, False], "no_grasp")])["no_grasp"].value == 1.0


def test_report_keeps_baselines_to_rows() -> None:
    config = GraspEvalConfig(policies=("oracle-antipodal", "top-down"))
    good, bad = _round([True] * 5), _round([False, False])
    results = [
        RoundResult(good.spec, "oracle-antipodal", 5, 5, 0, good.attempts),
        RoundResult(bad.spec, "top-down", 5, 0, 0, bad.attempts),
    ]
    report = build_report(config, results, 1.0)
    assert report.metrics["gsr"].value == 1.0
    by_policy = {r["policy"]: r for r in report.rows if "family" not in r}
    assert by_policy["top-down"]["gsr"]["value"] == 0.0  # type: ignore[index]


def test_arm_mode_without_its_module_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sinew_sim.evaluation.grasp._ARM_MODULE", "sinew_sim.evaluation.not_there")
    with pytest.raises(ConfigError, match="scripts/setup"):
        evaluate(GraspEvalConfig(mode="arm", rounds=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "flying"}, "did you mean|floating"),
        ({"scenes": "heap"}, "packed"),
        ({"rounds": 0}, "rounds is 0"),
        ({"seeds": (1, 1)}, "all different"),
        ({"seeds": (-3,)}, "expected 0 or more"),
        ({"policies": ("m2t3",)}, "m2t2"),
    ],
)
def test_wrong_settings_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GraspEvalConfig(**changes)


def test_unknown_policy_is_named() -> None:
    with pytest.raises(ConfigError, match="oracle-antipodal"):
        make_policy("oracle", None)


def test_command_prints_rates_with_intervals_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.json"
    assert main(["--policy", "oracle-antipodal", "--rounds", "1", "--workers", "1", "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "GSR by family" in shown
    assert "oracle-antipodal" in shown
    assert json.loads(path.read_text())["metrics"]["dr"]["n"] == 5


@pytest.mark.slow
def test_a_report_that_cannot_be_written_is_said_before_the_rounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path, tmp_path / "file" / "report.json"):
        assert main(["--rounds", "1000", "--json", str(target)]) == 2
        assert "report file" in capsys.readouterr().out


def test_command_writes_all_policies_and_workers_do_not_matter(tmp_path: Path) -> None:
    found = []
    for workers in ("1", "2"):
        path = tmp_path / f"{workers}.json"
        arguments = ["--policy", "oracle-antipodal", "--baselines", "--rounds", "2", "--seeds", "4"]
        assert main([*arguments, "--workers", workers, "--json", str(path)]) == 0
        content = json.loads(path.read_text())
        rates = {k: v for k, v in content["metrics"].items() if not k.startswith("latency")}
        found.append(rates)
        assert [r["policy"] for r in content["rows"] if "family" not in r] == [
            "oracle-antipodal",
            *(b for b in BASELINES if b != "oracle-antipodal"),
        ]
    assert found[0] == found[1]
    assert found[0]["gsr"]["value"] >= 0.9
