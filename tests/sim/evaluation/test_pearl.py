"""PEARL's evaluation: figures that are right on labels known to be right, wrong or absent, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import cli, episode_hdf5
from sinew_policies.common.episodes import Episode, EpisodeSet
from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.report import Row
from sinew_policies.pearl import preferences

pytest.importorskip("metaworld")

from sinew_sim.evaluation import pearl, pearl_command
from sinew_sim.evaluation.pearl import PearlEvalConfig
from sinew_sim.evaluation.pearl_data import TaskPair, labelled, parse_pairs
from sinew_sim.evaluation.pearl_labels import few_labels
from sinew_sim.evaluation.pearl_results import Kept, StageResult
from sinew_sim.evaluation.pearl_scores import Estimate, label_accuracy, mean, ratio, share

EVERY = np.arange(6)


def order(n: int) -> np.ndarray:
    """Labels that prefer the larger number."""
    return 0.5 + 0.5 * np.sign(np.subtract.outer(np.arange(n), np.arange(n))).astype(np.float64)


def reaching(task: str, seed: int, episodes: int = 24, steps: int = 30) -> EpisodeSet:
    """A hand that carries its object towards the goal with a skill that differs between episodes: 39 numbers."""
    rng = np.random.default_rng(seed)

    def one(k: int) -> Episode:
        skill, goal = k / episodes, rng.uniform(-0.3, 0.3, 3)
        start = goal + rng.normal(size=3) * 0.02 + 0.4
        way = np.linspace(0.0, skill, steps + 1)[:, None]
        place = start + way * (goal - start) + rng.normal(0.0, 0.004, (steps + 1, 3))
        states = np.zeros((steps + 1, 39), np.float32)
        states[:, 0:3], states[:, 4:7], states[:, 36:39] = place + 0.03, place, goal
        far = np.linalg.norm(place - goal, axis=1)[1:]
        noise = rng.normal(0.0, 0.02 + 0.6 * (1.0 - skill), (steps, 4))
        return Episode(
            task=task,
            observations=states[:-1],
            actions=np.clip(0.5 + noise, -1, 1).astype(np.float32),
            rewards=(1.0 - far).astype(np.float32),
            successes=far < 0.08,
            next_observations=states[1:],
            source="made",
            seed=k,
        )

    return EpisodeSet(task, tuple(one(k) for k in range(episodes)))


def test_pairs_are_read_in_any_spelling() -> None:
    found = parse_pairs("button-press:door-close-v3, faucet-close:window-open,button-press-v3:door-close")
    assert found == (TaskPair("button-press", "door-close"), TaskPair("faucet-close", "window-open"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("button-press", "pair 'button-press' is not SOURCE:TARGET"),
        ("reach:push:reach", "is not SOURCE:TARGET"),
        ("reach:pusch", "'pusch' is not a Meta-World task; did you mean 'push'"),
        ("reach:reach-v3", "name two tasks"),
        (" , ", "there are no pairs"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_pairs(text)


def test_accuracy_of_known_labels() -> None:
    truth, none = order(6), np.zeros((6, 6), bool)
    everything = ~none

    def accuracy(z: np.ndarray, counted: np.ndarray = everything) -> Estimate:
        return label_accuracy("a:b", z, truth, counted, EVERY, 0)

    assert accuracy(truth).value == 1.0
    assert accuracy(1.0 - truth).value == 0.0
    assert accuracy(np.full((6, 6), 0.5)).value == 0.5
    assert accuracy(truth).n == 15
    assert np.isnan(accuracy(truth, none).value)
    half = np.where(EVERY[:, None] + EVERY[None, :] < 5, truth, 1.0 - truth)
    found = accuracy(half)
    assert found.value == pytest.approx(6 / 15)
    assert found.metric.low < found.value < found.metric.high
    tied = truth.copy()
    tied[0, 1] = tied[1, 0] = 0.5
    assert label_accuracy("a:b", 1.0 - truth, tied, everything, EVERY, 0).n == 14
    assert share("a:b", np.eye(6), np.ones((6, 6)), EVERY, 0).value == 0.0  # a pair with itself is none


def test_segments_of_one_episode_move_together() -> None:
    """Two copies of every trajectory carry no more information than one."""
    rng = np.random.default_rng(0)
    truth, z = order(12), 0.5 + 0.5 * np.sign(np.subtract.outer(s := rng.random(12), s))
    doubled = np.ix_(np.repeat(np.arange(12), 2), np.repeat(np.arange(12), 2))
    one = label_accuracy("p", z, truth, np.ones_like(z, bool), np.arange(12), 0).metric
    two = label_accuracy("p", z[doubled], truth[doubled], np.ones((24, 24), bool), np.repeat(np.arange(12), 2), 0)
    assert two.metric.high - two.metric.low == pytest.approx(one.high - one.low, rel=0.1)


def test_mean_and_ratio_leave_out_what_was_refused() -> None:
    spread = np.linspace(-0.1, 0.1, 400)
    good, bad = Estimate("a", 0.9, 0.9 + spread, 10), Estimate("b", 0.5, 0.5 + spread, 10)
    refused = Estimate("c", float("nan"), np.full(400, np.nan), 0)
    found = mean([good, bad, refused], 0)
    assert (found.value, found.n) == (pytest.approx(0.7), 2)
    assert found.low < 0.55  # the other pairs of tasks might all have been like the bad one
    assert found.high > 0.85
    assert ratio(bad, good).value == pytest.approx(0.5 / 0.9)
    assert np.isnan(mean([refused], 0).value)


def test_few_labels_are_true_and_repeat() -> None:
    data = labelled(reaching("push", 0), 0, 0)
    pair = TaskPair("reach", "push")
    found = few_labels(data, 7, pair, 3)
    assert found is not None
    assert len(found) == 7
    np.testing.assert_array_equal(found.z, data.z[found.pairs[:, 0], found.pairs[:, 1]])
    again = few_labels(data, 7, pair, 3)
    assert again is not None
    np.testing.assert_array_equal(found.pairs, again.pairs)
    assert few_labels(data, 0, pair, 3) is None


def test_tie_only_labels_are_refused() -> None:
    data = reaching("push", 0, episodes=1)
    with pytest.raises(DataError, match="task 'push': all scripted labels of 1 segments are ties"):
        labelled(data, 0, 0)


def test_results_of_a_job_come_back(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    result = StageResult(({"pair": "a:b"},), {"x": Estimate("a:b", 0.5, np.array([0.4, np.nan]), 3)}, {"k": (1, 2)})
    kept.save("job", result)
    found = kept.load("job")
    assert found is not None
    assert found.rows == result.rows
    assert found.counts == {"k": (1, 2)}
    np.testing.assert_array_equal(found.estimates["x"].replicates, [0.4, np.nan])
    assert kept.load("other job") is None
    next(tmp_path.iterdir()).write_text("{")
    assert kept.load("job") is None
    Kept(None).save("job", result)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collections give made episodes; the list names what was asked for."""
    asked: list[str] = []

    def collect(task: str, **settings: object) -> EpisodeSet:
        asked.append(task)
        seed = settings["seed"]
        assert isinstance(seed, int)
        return reaching(task, 100 * seed + len(task))

    monkeypatch.setattr("sinew_sim.evaluation.pearl_data.collect", collect)
    pearl._episodes.cache_clear()
    pearl._labelled.cache_clear()
    return asked


def methods(rows: list[Row]) -> list[str]:
    return [str(row["method"]) for row in rows]


def test_label_stage_end_to_end(made: list[str], tmp_path: Path) -> None:
    out = tmp_path / "labels.json"
    words = [
        "--stage",
        "labels",
        "--pairs",
        "reach:push",
        "--lengths",
        "0",
        "--target-labels",
        "0,12",
        "--json",
        str(out),
    ]
    words += ["--steps", "30", "--workers", "1", "align.draws=12", "align.subset=12"]
    assert cli.main(["eval", "pearl", *words]) == 0
    report = json.loads(out.read_text())
    assert report["command"] == "eval pearl --stage labels"
    assert report["metrics"]["label_accuracy"]["value"] > 0.85
    assert report["metrics"]["abstained"]["value"] < 0.3
    assert report["metrics"]["plants_accepted"]["value"] == 0.0
    assert methods(report["rows"])[0] == "cpa"
    assert {"published", "random", "flipped", "mirrored-source"} <= set(methods(report["rows"]))
    by_labels = {row["target_labels"]: row for row in report["rows"] if row["method"] == "cpa"}
    assert by_labels[12]["verdict"] == "accepted"
    assert list(tmp_path.iterdir()) == [out]  # nothing of the run in progress is left


def test_an_interrupted_evaluation_goes_on(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PearlEvalConfig(
        stage="labels",
        pairs=parse_pairs("reach:push,push:reach"),
        lengths=(0,),
        steps=30,
        workers=1,
        controls=False,
        method=pearl_command.configuration.load(pearl.MethodConfig, None, ["align.draws=6", "align.subset=8"]),
    )
    whole = pearl.run(config)
    judged: list[str] = []
    original = pearl._judge

    def judge(job: pearl.Job) -> StageResult:
        judged.append(str(job.pair))
        if len(judged) == 2:
            raise KeyboardInterrupt
        return original(job)

    monkeypatch.setattr(pearl, "_judge", judge)
    with pytest.raises(KeyboardInterrupt):
        pearl.run(config, parts=tmp_path / "parts")
    resumed = pearl.run(config, parts=tmp_path / "parts")
    assert judged == ["reach:push", "push:reach", "push:reach"]

    def timeless(rows: object) -> list[Row]:
        return [{k: v for k, v in dict(row).items() if k != "cpu_s"} for row in rows]  # type: ignore[attr-defined]

    assert timeless(resumed.rows) == timeless(whole.rows)
    assert resumed.metrics == whole.metrics


def test_reward_and_policy_stages_end_to_end(made: list[str], tmp_path: Path) -> None:
    small = ["align.draws=8", "align.subset=12", "reward.steps=60", "reward.hidden=[16]"]
    words = ["--pairs", "reach:push", "--steps", "30", "--workers", "1", "--json", str(tmp_path / "r.json"), *small]
    assert cli.main(["eval", "pearl", "--stage", "reward", *words]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert methods(report["rows"]) == ["cpa", "oracle", "random", "flipped"]
    assert 0.0 <= report["metrics"]["pair_accuracy"]["value"] <= 1.0
    small += ["iql.steps=2", "iql.hidden=[8]", "iql.batch=8", "cloning.steps=2", "cloning.hidden=[8]"]
    words = ["--pairs", "reach:push", "--steps", "5", "--rollouts", "1", "--workers", "1", *small]
    words += ["--least-confidence", "0.2"]
    assert cli.main(["eval", "pearl", "--stage", "policy", *words, "--json", str(tmp_path / "p.json")]) == 0
    report = json.loads((tmp_path / "p.json").read_text())
    played = [row for row in report["rows"] if "policy_success" in row]
    assert methods(played) == ["cpa", "oracle", "cpa-all", "zero", "random", "flipped", "target-labels", "cloning"]
    assert report["metrics"]["policy_success"]["n"] == 1
    words[-1] = "1"
    assert cli.main(["eval", "pearl", "--stage", "policy", *words, "--json", str(tmp_path / "q.json")]) == 0
    report = json.loads((tmp_path / "q.json").read_text())
    assert "transferred labels has confidence" in report["rows"][0]["refused"]
    assert "cpa" not in methods([row for row in report["rows"] if "policy_success" in row])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pairs", "reach:door"], "'door' is not a Meta-World task"),
        (["--lengths", "some"], "--lengths is 'some'"),
        (["--lengths", "151"], "lengths (151,)"),
        (["--target-labels", "-1"], "nothing below 0"),
        (["--repeats", "0"], "repeats is 0"),
        (["--seed", "-1"], "seed -1"),
        (["align.subsets=3"], "no setting 'align.subsets'; did you mean 'align.subset'"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "pearl", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    names = []
    for k, task in enumerate(("reach", "push")):
        episode_hdf5.write(tmp_path / f"{task}.hdf5", reaching(task, k))
        names.append(str(tmp_path / f"{task}.hdf5"))
    return names[0], names[1]


QUICK = ["draws=8", "subset=12"]


def test_align_writes_labels_that_training_reads(files: tuple[str, str], tmp_path: Path) -> None:
    out, report = tmp_path / "labels.csv", tmp_path / "align.json"
    words = ["--source", files[0], "--target", files[1], "--out", str(out), "--json", str(report), *QUICK]
    assert cli.main(["align", *words]) == 0
    found = preferences.read(out, episode_hdf5.read(Path(files[1])))
    assert set(found.sources) == {"cpa:reach"}
    assert json.loads(report.read_text())["metrics"]["label_accuracy"]["value"] > 0.85
    # Its own labels, given back as target labels, agree and are accepted.
    assert cli.main(["align", *words, "--target-labels", str(out)]) == 0
    assert json.loads(report.read_text())["rows"][0]["verdict"] == "accepted"


def test_align_refuses_and_writes_nothing(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reach = episode_hdf5.read(Path(files[0]))
    wide = tuple(
        Episode(
            e.task, e.observations, np.pad(e.actions, ((0, 0), (0, 3))), e.rewards, e.successes,
            e.next_observations, e.source, e.seed,
        )
        for e in reach.episodes
    )  # fmt: skip
    episode_hdf5.write(tmp_path / "wide.hdf5", EpisodeSet("reach", wide))
    out = tmp_path / "labels.csv"
    for source, message in (
        (str(tmp_path / "wide.hdf5"), "source 'reach' has 7 action numbers, target 'push' has 4"),
        (str(tmp_path / "gone.hdf5"), "there is no such file"),
        ("raech", "'raech' is not a Meta-World task; did you mean 'reach'"),
    ):
        assert cli.main(["align", "--source", source, "--target", files[1], "--out", str(out), *QUICK]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not out.exists()


def test_align_refuses_ties_only(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ties = tmp_path / "ties.csv"
    rows = [f"reach,30,{k},0,{k + 1},0,0.5,human" for k in range(8)]
    ties.write_text("\n".join([",".join(preferences.COLUMNS), *rows]) + "\n")
    words = ["--source", files[0], "--labels", str(ties), "--target", files[1], "--out", str(tmp_path / "out.csv")]
    assert cli.main(["align", *words]) == 2
    assert "all 8 labels are ties" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("words", [["reach", "dor"], ["reach,dor", "push"]])
def test_align_names_a_wrong_task_before_it_records(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = words
    folder = tmp_path / "data"
    more = ["--out", str(tmp_path / "x.csv"), "--data", str(folder)]
    assert cli.main(["align", "--source", source, "--target", target, *more]) == 2
    assert "'dor' is not a Meta-World task" in capsys.readouterr().err
    assert not folder.exists()
