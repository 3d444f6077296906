"""Predictor and sessions: seeds, resets, goals, forbidden actions, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sinew_policies.common.errors import CheckpointError, ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.psl.actions import Action
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.network import Observation, PSLPolicy
from sinew_policies.psl.predictor import Predictor, Session
from sinew_policies.psl.weights import save_policy

TINY = PSLConfig.tiny()
STEPS = 12


@pytest.fixture(scope="module")
def policy() -> PSLPolicy:
    torch.manual_seed(1)
    return PSLPolicy(TINY).eval()


@pytest.fixture(scope="module")
def predictor(policy: PSLPolicy) -> Predictor:
    return Predictor(policy, device="cpu")


def frames(n: int, batch: int = 1) -> NDArray[np.uint8]:
    return stream(0, "psl frames").integers(0, 256, (n, batch, 48, 64, 3), np.uint8)


def goal(seed: int = 0, views: int = 1) -> NDArray[np.float32]:
    return stream(seed, "psl goal").standard_normal((views, 16)).astype(np.float32)


def walk(session: Session, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.stack([session.step(image).actions for image in images])


def test_a_session_is_the_network_fed_with_its_own_actions(predictor: Predictor, policy: PSLPolicy) -> None:
    images = frames(STEPS)
    session = predictor.start(goal(views=3), greedy=True)
    state, previous = policy.initial_state(1), torch.zeros(1, dtype=torch.int64)
    for t, image in enumerate(images):
        decision = session.step(image[0])
        with torch.inference_mode():
            o = Observation(torch.from_numpy(image), torch.from_numpy(goal(views=3))[None])
            out = policy(o, state, previous, torch.tensor([t > 0]))
        np.testing.assert_allclose(decision.log_probs, out.log_probs, atol=1e-6)
        np.testing.assert_allclose(decision.values, out.value[:, 0], atol=1e-6)
        assert decision.action is Action(int(out.log_probs.argmax()))
        state, previous = out.state, torch.from_numpy(decision.actions)


def test_actions_are_sampled_by_seed_and_environment(predictor: Predictor) -> None:
    images = frames(STEPS, 3)
    goals = np.stack([goal(i) for i in range(3)])
    both = walk(predictor.start(goals), images)
    assert np.array_equal(both, walk(predictor.start(goals), images))
    assert not np.array_equal(both, walk(predictor.start(goals, seed=1), images))
    # The first environment acts as it would alone.
    assert np.array_equal(both[:, :1], walk(predictor.start(goals[:1]), images[:, :1]))


def test_actions_are_sampled_under_the_published_seed(predictor: Predictor) -> None:
    images = frames(STEPS)
    assert np.array_equal(walk(predictor.start(goal()), images), walk(predictor.start(goal(), seed=200), images))
    assert not np.array_equal(
        walk(predictor.start(goal()), images), walk(predictor.start(goal(), seed=201), images)
    )


def test_sampled_actions_follow_the_probabilities(predictor: Predictor) -> None:
    image = frames(1)[0]
    n = 400
    images, goals = image.repeat(n, axis=0), np.tile(goal(), (n, 1, 1))
    decision = predictor.start(goals).step(images, pose_keys=["one"] * n)
    share = np.bincount(decision.actions, minlength=6) / n
    assert np.abs(share - np.exp(decision.log_probs[0])).max() < 4 * np.sqrt(0.25 / n)
    no_looks = (Action.LOOK_UP, Action.LOOK_DOWN)
    masked = predictor.start(goals, forbidden=no_looks).step(images, pose_keys=["one"] * n).actions
    assert set(masked.tolist()) == {0, 1, 2, 3}
    only = predictor.start(goal(), greedy=True, forbidden=[0, 1, 2, 3, 5])
    assert only.step(image).action is Action.LOOK_DOWN


def test_a_restart_forgets_one_environment_and_no_other(predictor: Predictor) -> None:
    images = frames(3, 2)
    goals = np.stack([goal(0), goal(1)])
    session = predictor.start(goals, greedy=True)
    plain = predictor.start(goals, greedy=True)
    walk(session, images[:2])
    walk(plain, images[:2])
    session.restart([0], goal(2)[None])
    got, other = session.step(images[2]), plain.step(images[2])
    np.testing.assert_array_equal(got.log_probs[1], other.log_probs[1])
    fresh = predictor.start(goal(2)).step(images[2, :1])
    np.testing.assert_allclose(got.log_probs[0], fresh.log_probs[0], atol=1e-6)
    with pytest.raises(DataError, match=r"environments within 0\.\.1"):
        session.restart([2], goal(2)[None])


def test_a_repeated_pose_spares_the_visual_tower(predictor: Predictor) -> None:
    images = frames(2, 2)
    plain = walk(predictor.start(np.stack([goal(), goal()])), images[[0, 1, 0, 1]])
    session = predictor.start(np.stack([goal(), goal()]))
    before = predictor.cache.misses
    keyed = [session.step(images[t], pose_keys=[("scene", t, 0), ("scene", t, 1)]).actions for t in (0, 1, 0, 1)]
    assert np.array_equal(np.stack(keyed), plain)
    assert predictor.cache.misses - before == 4


def test_goals_from_words_and_views(predictor: Predictor, policy: PSLPolicy) -> None:
    text = predictor.text_goal("a red chair")
    assert text.shape == (1, 16)
    assert np.array_equal(text, predictor.text_goal("A  red chair"))
    views = stream(1, "views").integers(0, 256, (4, 30, 40, 3), np.uint8)
    codes = predictor.image_goal(views)
    assert codes.shape == (4, 16)
    np.testing.assert_allclose(predictor.image_goal(views[2]), codes[2:3], atol=1e-5)
    with torch.inference_mode():
        plain = policy.encode_frames(torch.from_numpy(views))
    np.testing.assert_allclose(codes, plain, atol=1e-5)
    predictor.start(codes).step(frames(1)[0])
    with pytest.raises(DataError, match="expected uint8 RGB"):
        predictor.image_goal(views / 255.0)


def test_half_precision_of_clip_changes_little(predictor: Predictor, policy: PSLPolicy) -> None:
    narrow = Predictor(policy, device="cpu", precision="bfloat16")
    image = frames(1)[0]
    a, b = (p.image_goal(image) for p in (predictor, narrow))
    assert 0 < np.abs(a - b).max() < 0.05 * a.std()


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (np.zeros((40, 64, 3), np.uint8), "resample the camera to this size"),
        (np.zeros((3, 48, 64), np.uint8), "transpose to height, width, channels"),
        (np.zeros((48, 64, 4), np.uint8), "without alpha"),
        (np.zeros((48, 64, 3), np.float32), "float32"),
        (np.zeros((2, 48, 64, 3), np.uint8), r"expected uint8 RGB of shape \(1, 48, 64, 3\)"),
    ],
)
def test_wrong_frames_are_refused(predictor: Predictor, bad: NDArray, text: str) -> None:
    with pytest.raises(DataError, match=text):
        predictor.start(goal()).step(bad)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (np.ones(16), r"a single code \(of shape \(16,\)\) is given as \(1, 16\)"),
        (np.ones((1, 8)), r"expected \(views, 16\)"),
        (np.zeros((1, 16)), "above zero"),
        (np.full((1, 16), np.nan), "finite"),
    ],
)
def test_wrong_goals_are_refused(predictor: Predictor, bad: NDArray, text: str) -> None:
    with pytest.raises(DataError, match=text):
        predictor.start(bad)


def test_wrong_settings_are_refused(predictor: Predictor, policy: PSLPolicy) -> None:
    with pytest.raises(ConfigError, match="leave at least one"):
        predictor.start(goal(), forbidden=range(6))
    with pytest.raises(ConfigError, match=r"expected 0\.\.5"):
        predictor.start(goal(), forbidden=[6])
    with pytest.raises(ConfigError, match=r"unknown precision 'float8'; .*bfloat16"):
        Predictor(policy, precision="float8")
    with pytest.raises(ConfigError, match="folded already"):
        Predictor(predictor.policy)


def test_from_pretrained(predictor: Predictor, policy: PSLPolicy, tmp_path: Path) -> None:
    save_policy(tmp_path / "w", predictor.policy, "test")
    torch.save(policy.clip.state_dict(), tmp_path / "clip.pt")
    loaded = Predictor.from_pretrained(tmp_path / "w", tmp_path / "clip.pt", device="cpu")
    images = frames(3)
    assert np.array_equal(walk(loaded.start(goal()), images), walk(predictor.start(goal()), images))
    with pytest.raises(CheckpointError, match="hold no CLIP"):
        Predictor.from_pretrained(tmp_path / "w")
    with pytest.raises(CheckpointError, match="folded and cannot be saved"):
        save_policy(tmp_path / "w", predictor.policy, "test", with_clip=True)


def test_the_visual_tower_is_held_once_and_the_policy_stays(predictor: Predictor, policy: PSLPolicy) -> None:
    convolutions = [m for m in predictor.policy.clip.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == len([m for m in policy.clip.modules() if isinstance(m, torch.nn.Conv2d)])
    assert not [m for m in vars(predictor).values() if isinstance(m, torch.nn.Module) and m is not predictor.policy]
    assert PSLPolicy(TINY).state_dict().keys() == policy.state_dict().keys()
    ours = {p.data_ptr() for p in predictor.policy.parameters()}
    assert ours.isdisjoint(p.data_ptr() for p in policy.parameters())
