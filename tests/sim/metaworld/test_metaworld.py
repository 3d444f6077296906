"""Meta-World on the installed MuJoCo: experts that succeed, sets that repeat, what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common import episode_hdf5
from sinew_policies.common.errors import ConfigError, DataError

pytest.importorskip("metaworld")

from sinew_sim.metaworld import collection
from sinew_sim.metaworld.behaviours import expert, record
from sinew_sim.metaworld.collection import collect, data_file
from sinew_sim.metaworld.environment import TaskEnvironment
from sinew_sim.metaworld.mixture import GRADED, KINDS, MIXTURES, SCARCE, QualityMix, kinds, mixture
from sinew_sim.metaworld.rollout import successes
from sinew_sim.metaworld.tasks import canonical, task_names

QUICK_TASKS = ("button-press", "door-close", "drawer-open", "faucet-close", "reach", "window-open")
EXPERTS = QualityMix("experts", expert=1.0, sigma=(0.0, 0.05))


def expert_succeeds(task: str, layouts: int, steps: int) -> bool:
    """Whether one of the first layouts is solved; single layouts are beyond the scripted experts of some tasks."""
    environment = TaskEnvironment(task)
    return any(record(environment, "expert", EXPERTS, steps, 0, k).succeeded for k in range(layouts))


def test_there_are_fifty_tasks() -> None:
    assert len(task_names()) == 50
    assert canonical("door-close-v3") == canonical("door-close") == "door-close"
    with pytest.raises(ConfigError, match="'door-closs' is not a Meta-World task; did you mean 'door-close'"):
        canonical("door-closs")


@pytest.mark.parametrize("task", QUICK_TASKS)
def test_expert_succeeds(task: str) -> None:
    assert expert_succeeds(task, layouts=1, steps=110)


@pytest.mark.slow
def test_expert_of_every_task_succeeds() -> None:
    failed = [task for task in task_names() if not expert_succeeds(task, layouts=6, steps=500)]
    assert failed == []


@pytest.mark.slow
def test_every_expert_can_be_lost_in_another_task() -> None:
    environment = TaskEnvironment("door-close")
    observation = environment.reset(0)
    for task in task_names():
        assert np.asarray(expert(task).get_action(observation)).shape == (4,)


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_repeats_whatever_was_played_before(kind: str) -> None:
    used, fresh = TaskEnvironment("window-open"), TaskEnvironment("window-open")
    record(used, "wander", GRADED, 20, 5, 0)
    a, b = record(used, kind, GRADED, 30, 1, 2), record(fresh, kind, GRADED, 30, 1, 2)
    for name in ("observations", "actions", "rewards", "successes", "next_observations"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert np.abs(a.actions).max() <= 1.0
    np.testing.assert_array_equal(a.observations[1:], a.next_observations[:-1])
    assert a.source == kind


def test_layouts_and_noise_differ_between_episodes() -> None:
    environment = TaskEnvironment("window-open")
    a, b = (record(environment, "expert", GRADED, 5, 0, k) for k in (0, 1))
    assert not np.array_equal(a.observations[0, 36:39], b.observations[0, 36:39])


def test_a_partial_episode_is_the_expert_up_to_its_turn() -> None:
    late = QualityMix("late", partial=1.0, way_range=(0.9, 0.9))
    environment = TaskEnvironment("reach")
    whole, part = (record(environment, kind, late, 60, 3, 0) for kind in ("expert", "partial"))
    same = (whole.actions == part.actions).all(1)
    first_success = int(np.argmax(whole.successes))
    assert same[: int(0.9 * first_success)].all()
    assert not part.successes[: int(0.9 * first_success)].any()


def test_kinds_keep_to_the_shares() -> None:
    found = kinds(GRADED, 20, 0)
    assert {k: found.count(k) for k in set(found)} == {"expert": 10, "epsilon": 4, "wrong-task": 3, "random": 3}
    assert sorted(kinds(GRADED, 20, 1)) == sorted(found)
    assert kinds(GRADED, 20, 1) != found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"expert": -0.1}, "shares"),
        ({}, "shares"),
        ({"expert": 1.0, "sigma": (0.5, 0.1)}, "sigma is"),
        ({"expert": 1.0, "way_range": (0.5, 1.2)}, "way_range is"),
        ({"expert": 1.0, "period": 0}, "period is 0"),
    ],
)
def test_a_mixture_outside_its_domain_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QualityMix("wrong", **settings)
    with pytest.raises(ConfigError, match="no mixture 'scarc'; did you mean 'scarce'"):
        mixture("scarc")
    assert mixture("scarce") is MIXTURES["scarce"] is SCARCE


def test_an_interrupted_collection_goes_on_and_gives_the_same_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(folder: Path | None) -> list[np.ndarray]:
        found = collect("reach", episodes=25, steps=6, seed=4, mixture=GRADED, folder=folder)
        return [e.actions for e in found.episodes]

    expected = take(None)
    played: list[int] = []
    original = collection._play

    def interrupt(*job: object) -> object:
        played.append(int(job[-1]))  # type: ignore[call-overload]
        if len(played) == 23:
            raise KeyboardInterrupt
        return original(*job)  # type: ignore[arg-type]

    monkeypatch.setattr(collection, "_play", interrupt)
    with pytest.raises(KeyboardInterrupt):
        take(tmp_path)
    file = data_file(tmp_path, "reach", 25, 6, 4, GRADED)
    assert not file.exists()
    np.testing.assert_array_equal(take(tmp_path), expected)
    assert played[23:] == list(range(20, 40))  # the first round was kept
    np.testing.assert_array_equal([e.actions for e in episode_hdf5.read(file).episodes], expected)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
    take(tmp_path)
    assert len(played) == 43  # read, not played


def test_two_processes_record_what_one_does() -> None:
    one, two = (collect("reach", episodes=3, steps=3, seed=0, processes=n) for n in (1, 2))
    for a, b in zip(one.episodes, two.episodes, strict=True):
        np.testing.assert_array_equal(a.observations, b.observations)


def test_scarce_success_is_the_experts_alone() -> None:
    few = replace(SCARCE, expert=0.25, misled=0.25, partial=0.5, wander=0.0, period=4)
    found = collect("reach", episodes=8, steps=80, seed=0, mixture=few)
    assert [e.succeeded for e in found.episodes] == [e.source == "expert" for e in found.episodes]
    assert found.success_rate == 0.25
    with pytest.raises(ConfigError, match="none of 60 episodes of kind 'expert' succeeded within 3 steps"):
        collect("reach", episodes=4, steps=3, seed=0, mixture=few)


def test_numbers_outside_their_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="501 steps"):
        collect("reach", steps=501, seed=0)
    with pytest.raises(ConfigError, match="0 episodes"):
        collect("reach", episodes=0, seed=0)
    environment = TaskEnvironment("reach")
    environment.reset(0)
    for action in (np.full(4, np.nan), np.zeros(3)):
        with pytest.raises(DataError, match="expected 4 finite numbers"):
            environment.step(action)


@pytest.mark.filterwarnings("ignore:Constant")
def test_rollouts_play_the_same_layouts_again() -> None:
    still = successes("reach", lambda _: np.zeros(4, np.float32), episodes=2, steps=5, seed=0)
    assert not still.any()
    policy = expert("reach")
    done = successes("reach", lambda o: policy.get_action(o.astype(np.float64)), episodes=2, steps=90, seed=0)
    assert done.all()
