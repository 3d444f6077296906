"""The maze task pays PSL's reward, plays every episode once and tells good players from bad ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import cli
from sinew_policies.common.errors import ConfigError
from sinew_policies.psl.metrics import score
from sinew_policies.psl.reward import GoalRelation, relaxed_reward
from sinew_sim.evaluation.psl_command import main
from sinew_sim.evaluation.psl_maze import MazeTask, MazeTaskConfig, maze_episodes
from sinew_sim.evaluation.psl_players import BASELINES, play
from sinew_sim.evaluation.psl_training import MazeTrainingConfig, RunConfig
from sinew_sim.maze.episodes import EpisodeSet
from sinew_sim.maze.simulator import FORWARD, LEFT, STOP

CONFIG = MazeTaskConfig(worlds=4, episodes=32, nearest_start_m=1.5)


@pytest.fixture(scope="module")
def episodes() -> EpisodeSet:
    return maze_episodes(CONFIG, 0)


def test_a_step_pays_the_relaxed_reward_of_where_it_led(episodes: EpisodeSet) -> None:
    task = MazeTask(episodes, 8, CONFIG, once=True)
    task.reset()
    for action in (FORWARD, LEFT, FORWARD):
        simulator = task.simulator
        goal_yaw = simulator.goal_yaw_rad()

        def error(yaw: np.ndarray, goal_yaw: np.ndarray = goal_yaw) -> np.ndarray:
            return np.abs((yaw - goal_yaw + np.pi) % (2 * np.pi) - np.pi)

        before = GoalRelation(simulator.distance_m(), error(simulator.pose[:, 2]))
        rewards = task.step(np.full(8, action)).rewards
        after = GoalRelation(simulator.distance_m(), error(simulator.pose[:, 2]))
        np.testing.assert_allclose(
            rewards, relaxed_reward(before, after, np.zeros(8, bool), CONFIG.reward), atol=1e-9
        )


def test_stop_in_the_last_step_counts_and_the_limit_does_not(episodes: EpisodeSet) -> None:
    task = MazeTask(episodes, 2, replace(CONFIG, max_steps=3), once=True)
    task.reset()
    for env in range(2):  # both stand on their goal
        episode = episodes.episodes[int(task.simulator.episode[env])]
        task.simulator.pose[env] = episode.goal.array
    for _ in range(2):
        assert not task.step(np.array([LEFT, LEFT])).dones.any()
    last = task.step(np.array([STOP, LEFT]))
    assert last.dones.all()
    assert [o.stopped for o in last.outcomes] == [True, False]
    assert [o.steps for o in last.outcomes] == [3, 3]
    assert score(last.outcomes, 1.0).success.value == 0.5


def test_a_restored_task_goes_on_as_the_first_did(episodes: EpisodeSet) -> None:
    draw = np.random.default_rng(0)
    actions = draw.choice(4, (120, 4), p=[0.05, 0.55, 0.2, 0.2])
    first, second = MazeTask(episodes, 4, CONFIG, seed=3), MazeTask(episodes, 4, CONFIG, seed=3)
    first.reset()
    for a in actions[:60]:
        first.step(a)
    second.restore({k: v.copy() for k, v in first.state().items()})
    ended = 0
    for a in actions[60:]:
        one, two = first.step(a), second.step(a)
        np.testing.assert_array_equal(one.rewards, two.rewards)
        np.testing.assert_array_equal(one.observations["view"], two.observations["view"])
        np.testing.assert_array_equal(one.observations["goal"], two.observations["goal"])
        assert one.outcomes == two.outcomes
        ended += len(one.outcomes)
    assert ended > 4


def test_players_rank_as_they_should_and_play_every_episode_once(episodes: EpisodeSet) -> None:
    found = {}
    for name, make in BASELINES.items():
        task = MazeTask(episodes, 16, CONFIG, once=True)
        outcomes = play(task, make(task, 0), 32)
        starts = sorted(o.start_distance_m for o in outcomes)
        np.testing.assert_allclose(starts, np.sort(episodes.start_distance_m))
        found[name] = score(outcomes, 1.0)
    assert found["shortest-path"].success.value >= 0.95
    assert found["shortest-path"].spl.value > 0.8
    assert found["random"].success.value <= 0.1
    assert found["forward-told-to-stop"].success.value > found["forward-biased"].success.value


def test_episodes_that_do_not_divide_are_refused(episodes: EpisodeSet) -> None:
    task = MazeTask(episodes, 5, CONFIG, once=True)
    with pytest.raises(ConfigError, match="32 episodes do not divide among 5 environments"):
        play(task, BASELINES["random"](task, 0), 32)


SMALL = [
    *("task.worlds=2", "task.episodes=16", "test_worlds=2", "test_episodes=16", "envs=8", "hidden=16", "code=16"),
    *("ppo.rollout_steps=8", "task.max_steps=30"),
]


def test_the_command_trains_evaluates_draws_and_goes_on(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "runs"), "--runs", "2", "--steps", "128", *SMALL]
    outputs = ["--json", str(tmp_path / "r.json"), "--chart", str(tmp_path / "c.png")]
    assert main([*words, *outputs]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["command"] == "train psl"
    assert set(report["metrics"]) >= {"success", "spl", "soft_spl", "distance_m", "success_gain_over_random"}
    assert report["metrics"]["success"]["n"] == 2
    assert {(r["seed"], r["player"]) for r in report["rows"]} == {
        (s, p) for s in (0, 1) for p in ("agent", *BASELINES)
    }
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    again = tmp_path / "again.json"
    assert main([*words, "--json", str(again)]) == 0  # nothing is left to train
    assert json.loads(again.read_text())["rows"] == report["rows"]


def test_impossible_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["train", "psl", "--out", str(tmp_path / "o")]
    for words, message in (
        (["ppo.learning_rate=1"], "there is no setting 'ppo.learning_rate'; did you mean"),
        (["envs=10"], "envs 10 do not divide into ppo.minibatches 4"),
        (["test_start_m=0.5"], "test_start_m is 0.5; expected more than the success radius 1.0 m"),
        (["--steps", "0"], "steps is 0; expected at least 1"),
        (["--seed", "-1"], "seed is -1; expected 0 to"),
        (["task.reward.distance_m=-1"], "distance_m is -1"),
    ):
        assert cli.main([*out, *words]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert RunConfig(tmp_path, 1, 4, 3).seeds == range(4, 7)


def test_a_partial_override_keeps_the_other_defaults() -> None:
    from sinew_policies.common import config

    assert config.load(MazeTrainingConfig, overrides=["ppo.epochs=2"]).ppo.lr == MazeTrainingConfig().ppo.lr


@pytest.mark.slow
def test_the_trained_agent_beats_chance_and_the_forward_biased_walker(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "runs"), "--steps", "300000", "--json", str(tmp_path / "r.json")]
    assert main(words) == 0
    rows = {r["player"]: r for r in json.loads((tmp_path / "r.json").read_text())["rows"]}
    for baseline in ("random", "forward-biased"):
        assert rows["agent"]["success"]["low"] > rows[baseline]["success"]["high"]
        assert rows["agent"]["spl"]["low"] > rows[baseline]["spl"]["high"]
