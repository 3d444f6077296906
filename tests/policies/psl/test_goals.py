"""From words to an action: prompts, CLIP, goal views, support set, expansion and policy, at tiny width."""

from pathlib import Path

import numpy as np
import pytest

from sinew_policies.common.errors import DataError
from sinew_policies.common.seeds import stream
from sinew_policies.psl.actions import Action
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.goal_cache import GoalViews, load_goal_views, save_goal_views
from sinew_policies.psl.goal_views import draw_view
from sinew_policies.psl.predictor import Predictor
from sinew_policies.psl.prompts import category_prompt, category_prompts, instance_texts
from sinew_policies.psl.support_set import SupportSet, build_support_set, load_support_set, save_support_set

EPISODES, CANDIDATES = 5, 10


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.random(PSLConfig.tiny(), 3)


@pytest.fixture(scope="module")
def support(predictor: Predictor) -> SupportSet:
    codes = predictor.image_goal(pictures(30)).astype(np.float16)
    return SupportSet(codes, predictor.clip_identity)


def pictures(n: int) -> np.ndarray:
    """Of flat colours, which CLIP's codes tell apart even with random weights."""
    return np.broadcast_to(stream(0, "goals").integers(0, 256, (n, 1, 1, 3), np.uint8), (n, 30, 40, 3)).copy()


def test_rendered_views_become_a_cache_then_a_support_set_then_a_goal(predictor: Predictor, tmp_path: Path) -> None:
    views = pictures(EPISODES * CANDIDATES).reshape(EPISODES, CANDIDATES, 30, 40, 3)
    angles = stream(1, "goals").uniform(-np.pi, np.pi, (EPISODES, CANDIDATES, 2)).astype(np.float32)
    codes = np.stack([predictor.image_goal(v) for v in views]).astype(np.float16)
    save_goal_views(tmp_path, "scene", GoalViews(codes, angles).clearest(predictor.text_codes(category_prompts())))

    cache = load_goal_views(tmp_path, "scene")
    assert cache.embeddings.shape == (EPISODES, 4, 16)
    view = draw_view(range(4), "episode 2", seed=0)
    trained = predictor.start(cache.embeddings[2, [view]])
    assert isinstance(trained.step(np.zeros((48, 64, 3), np.uint8)).action, Action)

    built = build_support_set(
        cache.embeddings, predictor.clip_identity, cosine_bound=1.0
    )  # codes of random weights lie close
    assert len(built.vectors) > 1
    save_support_set(tmp_path / "support.safetensors", built)
    support = load_support_set(tmp_path / "support.safetensors")
    texts = instance_texts("A red chair. It is old.", "It stands beside a desk.")
    for words in (category_prompt("tv_monitor"), texts):
        goal = predictor.text_goal(words, support, temperature=0.05, k=3)
        assert goal.shape == (1, 16)
        assert isinstance(predictor.start(goal).step(np.zeros((48, 64, 3), np.uint8)).action, Action)


def test_a_support_set_moves_words_to_pictures(predictor: Predictor, support: SupportSet) -> None:
    raw = predictor.text_goal("a red chair")
    nearest = predictor.text_goal("a red chair", support, temperature=0.0)
    unit = support.vectors.astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_array_equal(nearest[0], support.vectors[(unit @ raw[0]).argmax()])
    mean = predictor.text_goal("a red chair", support, temperature=np.inf)
    np.testing.assert_allclose(mean[0], support.vectors.astype(np.float32).mean(0), atol=1e-5)
    assert not np.allclose(predictor.text_goal("a red chair", support), mean)


def test_several_texts_are_one_goal_and_several_codes(predictor: Predictor) -> None:
    texts = ("a red chair", "beside a desk")
    codes = predictor.text_codes(texts)
    assert codes.shape == (2, 16)
    np.testing.assert_allclose(predictor.text_goal(texts), codes.mean(0, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(codes[1:], predictor.text_goal(texts[1]), atol=1e-5)
    with pytest.raises(DataError, match="there is no text"):
        predictor.text_goal(())


def test_a_support_set_of_another_clip_is_refused(predictor: Predictor, support: SupportSet) -> None:
    other = Predictor.random(PSLConfig.tiny(), 4)
    with pytest.raises(DataError, match=r"was embedded by CLIP .* embed its pictures again"):
        other.text_goal("a red chair", support)
    narrow = Predictor.random(PSLConfig.tiny(), 3, precision="bfloat16")
    assert narrow.clip_identity == predictor.clip_identity
