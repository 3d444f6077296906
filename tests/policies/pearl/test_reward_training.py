from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinew_policies.common.episodes import Episode, EpisodeSet, Segmented
from sinew_policies.common.errors import CheckpointError, ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.pearl import reward_training
from sinew_policies.pearl.episode_split import split_by_episode, within
from sinew_policies.pearl.preference_transformer import TransformerConfig
from sinew_policies.pearl.reward import RewardModel
from sinew_policies.pearl.reward_losses import preference_loss
from sinew_policies.pearl.reward_scores import pair_accuracy
from sinew_policies.pearl.reward_training import RewardTraining, RewardTrainingConfig, TrainedReward, train_reward

QUICK = RewardTrainingConfig(hidden=(32,), steps=80, batch_pairs=128, lr=3e-3)


def planted(n: int = 80, steps: int = 20, seed: int = 0) -> tuple[Segmented, np.ndarray, F64]:
    """Segments whose summed reward is linear in observation and action, and the labels of every pair."""
    rng = stream(seed, "planted")
    o = rng.normal(size=(n, steps, 4)).astype(np.float32) + rng.normal(size=(n, 1, 4)).astype(np.float32)
    a = rng.uniform(-1, 1, (n, steps, 2)).astype(np.float32)
    r = (o @ np.array([1, -0.5, 0, 0.2]) + a @ np.array([0.3, 0])).astype(np.float32)
    index = np.arange(n)
    segments = Segmented("planted", o, a, r, r > 9, index, np.zeros_like(index))
    pairs = np.stack(np.triu_indices(n, 1), 1)
    score = segments.returns
    return segments, pairs, (score[pairs[:, 0]] > score[pairs[:, 1]]).astype(np.float64)


def test_a_planted_linear_reward_is_found() -> None:
    segments, pairs, z = planted()
    trained = train_reward(segments, pairs, z, replace(QUICK, steps=200), 0)
    assert trained.scores.pair_accuracy.value >= 0.95
    assert trained.scores.pair_accuracy.n == len(within(pairs, trained.split.test))
    score = trained.model.score(segments.observations, segments.actions)
    assert np.corrcoef(score, segments.returns)[0, 1] > 0.95


def test_held_out_episodes_do_not_train() -> None:
    """Neither their labels nor their contents move a weight; those of the training episodes do."""
    segments, pairs, z = planted(40)
    config = replace(QUICK, steps=5)  # one evaluation, whose weights are kept however the stopping episodes judge
    first = train_reward(segments, pairs, z, config, 0)
    held_out = ~first.split.train
    trains = np.isin(np.arange(len(pairs)), within(pairs, first.split.train))
    assert 0.2 < trains.mean() < 0.8
    observations, actions = segments.observations.copy(), segments.actions.copy()
    observations[held_out] *= -3.0
    actions[held_out] *= -3.0
    others = replace(segments, observations=observations, actions=actions)
    changed = train_reward(others, pairs, np.where(trains, z, 1.0 - z), config, 0)
    assert torch.equal(_weights(changed), _weights(first))
    relabelled = train_reward(segments, pairs, np.where(trains, 1.0 - z, z), config, 0)
    assert not torch.equal(_weights(relabelled), _weights(first))


@pytest.mark.parametrize("drawn", [0, 1, 5, 20])
def test_scores_of_drawn_steps_have_the_mean_and_spread_of_all(drawn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """H steps of N(mu, sigma^2) sum to N(H mu, H sigma^2), however many of them stand for the rest."""
    n, steps, mu, sigma = 400, 20, 0.7, 1.5
    segments, _, _ = planted(n, steps)
    pairs = np.arange(n).reshape(-1, 2)
    config = RewardTrainingConfig(
        hidden=(4,), steps=1, batch_pairs=2_000, steps_per_segment=drawn, stop_share=0.0, test_share=0.0
    )
    training = RewardTraining(segments, pairs, stream(0, "labels").choice([0.0, 1.0], len(pairs)), config, 0)
    last = training._network.backbone[-1]
    torch.nn.init.zeros_(last.weight)
    last.bias.data.copy_(torch.tensor([mu, np.log(sigma)]))
    seen: list[torch.Tensor] = []

    def spy(score_a: torch.Tensor, score_b: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        seen.extend((score_a.detach(), score_b.detach()))
        return preference_loss(score_a, score_b, z)

    monkeypatch.setattr(reward_training, "preference_loss", spy)
    training.block()
    score = torch.cat(seen).unique().numpy()  # one draw per segment, used in several pairs
    assert len(score) > 0.99 * n
    spread = sigma * np.sqrt(steps)
    assert score.mean() == pytest.approx(steps * mu, abs=4 * spread / np.sqrt(n))
    assert score.std() == pytest.approx(spread, rel=0.15)


def _weights(trained: TrainedReward) -> torch.Tensor:
    """All that is learned or measured in training, but the temperature."""
    state = trained.model.network.state_dict()
    return torch.cat([v.flatten() for name, v in state.items() if name != "temperature"])


def test_the_regulariser_keeps_sigma_above_its_floor() -> None:
    segments, pairs, z = planted()
    floor = 1.0  # nats; sigma = exp(floor) / sqrt(2 pi e)
    wanted = np.exp(floor) / np.sqrt(2 * np.pi * np.e)
    config = replace(QUICK, entropy_floor=floor, regulariser=10.0, steps=200, stop_share=0.0)
    held = train_reward(segments, pairs, z, config, 0).model.sigma(segments.observations, segments.actions)
    free = train_reward(segments, pairs, z, replace(config, regulariser=0.0), 0).model
    assert held.mean() > 0.9 * wanted
    assert free.sigma(segments.observations, segments.actions).mean() < 0.75 * wanted


def test_same_seed_same_bits_and_another_seed_others() -> None:
    segments, pairs, z = planted(40)
    first, again, other = (train_reward(segments, pairs, z, replace(QUICK, steps=20), s).model for s in (1, 1, 2))
    mean = first.mean(segments.observations, segments.actions)
    assert np.array_equal(mean, again.mean(segments.observations, segments.actions))
    assert not np.array_equal(mean, other.mean(segments.observations, segments.actions))


def test_resuming_gives_the_same_bits() -> None:
    segments, pairs, z = planted(40)
    config = replace(QUICK, steps=40)
    whole = train_reward(segments, pairs, z, config, 0)
    stopped = RewardTraining(segments, pairs, z, config, 0)
    stopped.block()
    resumed = RewardTraining(segments, pairs, z, config, 0)
    resumed.restore(stopped.state())
    while not resumed.finished:
        resumed.block()
    ours, theirs = resumed.result(), whole
    assert ours.steps == theirs.steps
    for a, b in zip(ours.model.network.parameters(), theirs.model.network.parameters(), strict=True):
        assert torch.equal(a, b)


@given(episodes=st.integers(10, 40), each=st.integers(1, 4), stop=st.floats(0.2, 0.4), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_no_episode_is_on_two_sides_of_the_split(episodes: int, each: int, stop: float, seed: int) -> None:
    index = stream(seed, "index").permutation(np.repeat(np.arange(episodes), each))
    split = split_by_episode(index, stop, 0.2, seed)
    parts = [set(index[kept].tolist()) for kept in (split.train, split.stop, split.test)]
    assert parts[0] | parts[1] | parts[2] == set(range(episodes))
    assert sum(len(p) for p in parts) == episodes
    pairs = stream(seed, "pairs").integers(0, len(index), (50, 2))
    kept = pairs[within(pairs, split.train)]
    assert set(index[kept].flatten().tolist()) <= parts[0]


def test_overfitting_stops_early_and_keeps_the_best() -> None:
    segments, pairs, _ = planted(40)
    z = stream(0, "noise").choice([0.0, 1.0], len(pairs))  # nothing to learn
    training = RewardTraining(segments, pairs, z, replace(QUICK, steps=2_000, evaluate_every=10, patience=3), 0)
    while not training.finished:
        training.block()
    assert training.steps_done < 500
    assert training.best_step <= training.steps_done - 30


def test_ties_are_left_out_of_accuracy() -> None:
    score = np.array([0.0, 1.0, 2.0])
    pairs = np.array([[0, 1], [1, 2], [2, 0], [0, 2]])
    metric = pair_accuracy(score, pairs, np.array([0.0, 0.5, 1.0, 1.0]))
    assert (metric.n, metric.value) == (3, pytest.approx(2 / 3))


def test_transformer_learns_the_same_way() -> None:
    segments, pairs, z = planted(24, 6)
    config = replace(
        QUICK,
        backbone="transformer",
        transformer=TransformerConfig(width=16, heads=2, max_steps=6),
        steps=4,
        batch_pairs=16,
        evaluate_every=2,
    )
    model = train_reward(segments, pairs, z, config, 0).model
    assert model.mean(segments.observations, segments.actions).shape == (24, 6)


def test_a_transformer_judges_a_step_by_the_window_that_ends_there() -> None:
    segments, pairs, z = planted(24, 6)
    small = TransformerConfig(width=16, heads=2, max_steps=6)
    config = replace(QUICK, backbone="transformer", transformer=small, steps=2, batch_pairs=16, evaluate_every=2)
    model = train_reward(segments, pairs, z, config, 0).model
    rng = stream(0, "long")
    o, a = (rng.uniform(-1, 1, (9, d)).astype(np.float32) for d in (4, 2))
    zero = np.zeros(9, np.float32)
    rewards = model.step_rewards(EpisodeSet("long", (Episode("long", o, a, zero, zero > 0, o, "random", 0),)))
    assert rewards.shape == (9,)
    for t in (0, 3, 5, 8):
        window = slice(max(0, t - 5), t + 1)
        assert rewards[t] == pytest.approx(model.mean(o[None, window], a[None, window])[0, -1], abs=1e-5)


def test_a_saved_model_says_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    segments, pairs, z = planted(40)
    model = train_reward(segments, pairs, z, replace(QUICK, steps=20), 0).model
    model.save(tmp_path / "weights", "# Reward")
    loaded = RewardModel.load(tmp_path / "weights")
    score = model.score(segments.observations, segments.actions)
    assert np.array_equal(loaded.score(segments.observations, segments.actions), score)
    assert np.array_equal(loaded.probability(score, pairs), model.probability(score, pairs))
    (tmp_path / "weights" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        RewardModel.load(tmp_path / "weights")


def test_bad_input_is_refused() -> None:
    segments, pairs, z = planted(40)
    with pytest.raises(DataError, match=r"all 780 labels are ties"):
        RewardTraining(segments, pairs, np.full(len(z), 0.5), QUICK, 0)
    wrong = z.copy()
    wrong[3] = np.nan
    with pytest.raises(DataError, match="label of pair 3 is nan"):
        RewardTraining(segments, pairs, wrong, QUICK, 0)
    with pytest.raises(DataError, match=r"expected indices in 0\.\.39"):
        RewardTraining(segments, pairs + 1, z, QUICK, 0)
    with pytest.raises(DataError, match=r"stop_share 0\.15 of 5 episodes is 1"):
        RewardTraining(segments.subset(range(5)), np.array([[0, 1]]), np.ones(1), QUICK, 0)
    damaged = segments.observations.copy()
    damaged[0, 0, 0] = np.inf
    with pytest.raises(DataError, match="observations hold NaN"):
        RewardTraining(replace(segments, observations=damaged), pairs, z, QUICK, 0)
    with pytest.raises(ConfigError, match="below 1"):
        RewardTrainingConfig(stop_share=0.6, test_share=0.5)
    model = RewardTraining(segments, pairs, z, QUICK, 0).result().model
    with pytest.raises(DataError, match=r"expects \(segments, steps, 4\)"):
        model.mean(segments.observations[..., :3], segments.actions)
    with pytest.raises(DataError, match="actions have shape"):
        model.mean(segments.observations, segments.actions[..., :1])
