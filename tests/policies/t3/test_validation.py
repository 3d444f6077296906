import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from policies.t3.touch_sets import SHAPE, write_set

from sinew_policies.t3.batches import Source, sources_of, validation_batches
from sinew_policies.t3.network import T3
from sinew_policies.t3.sets import open_sets
from sinew_policies.t3.starting import starting_network
from sinew_policies.t3.train_config import TrainConfig
from sinew_policies.t3.validation import Scores, Validation, batch_loss, root_mean_square, score

HEADS = ("cls_cnc", "pose_estimation_3d", "pose_estimation_6d_mini", "variance_estimation")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    data = tmp_path_factory.mktemp("data")
    write_set(data / "all", HEADS, 40, 40)
    return TrainConfig("supervise", data, Path(), batch=20, shape=SHAPE)


@pytest.fixture
def network(config: TrainConfig) -> T3:
    return starting_network(config, ("mini",), HEADS).eval()


def scored(config: TrainConfig, network: T3, head: str) -> tuple[Source, Scores]:
    source = next(s for s in sources_of(open_sets(config.data), config) if s.head == head)
    return source, score(network, source, validation_batches(source, config, 32, 16))


def answer(network: T3, head: str, values: list[float]) -> None:
    """Lets a head give the same numbers for any image."""
    last = [m for m in network.head(head).modules() if isinstance(m, torch.nn.Linear)][-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor(values))


def test_no_constant_pose_beats_the_mean_of_the_labels(config: TrainConfig, network: T3) -> None:
    head = "pose_estimation_6d_mini"
    answer(network, head, [0.0] * 9)  # the mean of the training labels
    _, scores = scored(config, network, head)
    m = scores.metrics
    assert (
        m["translation_rmse_of_mean"].value
        <= m["translation_rmse"].value
        < 1.2 * m["translation_rmse_of_mean"].value
    )
    assert m["rotation_rmse"].value == pytest.approx(m["rotation_rmse_of_mean"].value, rel=0.2)
    assert m["translation_rmse"].n == 40
    answer(network, head, [0.0] * 8 + [40.0])
    assert scored(config, network, head)[1].metrics["rotation_rmse"].value > m["rotation_rmse"].value


def test_translation_errors_are_millimetres_after_undoing_the_normalisation(
    config: TrainConfig, network: T3
) -> None:
    answer(network, "pose_estimation_3d", [1.0, 2.0, 3.0])
    source, scores = scored(config, network, "pose_estimation_3d")
    batches = list(validation_batches(source, config, 32, 16))
    wanted = np.concatenate([b.target.numpy() for b in batches if b.target is not None])
    expected = math.sqrt(np.mean(np.sum((wanted - [1.0, 2.0, 3.0]) ** 2, axis=1)))
    assert scores.metrics["translation_rmse"].value == pytest.approx(expected, rel=1e-5)
    assert scores.loss == pytest.approx(np.mean((wanted - [1.0, 2.0, 3.0]) ** 2), rel=1e-4)


def test_accuracy_counts_hits(config: TrainConfig, network: T3) -> None:
    hits = []
    for number in range(6):
        answer(network, "cls_cnc", [5.0 if i == number else 0.0 for i in range(6)])
        _, scores = scored(config, network, "cls_cnc")
        hits.append(scores.metrics["accuracy"].value)
    assert sum(hits) == pytest.approx(1.0)
    assert scores.metrics["accuracy_of_majority"].value == pytest.approx(max(hits))


def test_variance_is_in_its_own_unit(config: TrainConfig, network: T3) -> None:
    answer(network, "variance_estimation", [0.0])
    source, scores = scored(config, network, "variance_estimation")
    values = [float(source.data.splits["val"].labels(i)["vars"]) for i in range(40)]  # type: ignore[arg-type]
    assert scores.metrics["rmse"].value == pytest.approx(math.sqrt(np.mean(np.square(values))), rel=1e-5)
    assert scores.metrics["rmse_of_mean"].value == pytest.approx(np.std(values), rel=1e-4)


def test_a_pair_costs_one_pass_and_equals_two(config: TrainConfig, network: T3) -> None:
    source = next(s for s in sources_of(open_sets(config.data), config) if s.head == "pose_estimation_3d")
    batch = next(iter(validation_batches(source, config, 32, 16)))
    assert batch.partner is not None
    _, output = batch_loss(network, batch)
    two = network("mini", "pose_estimation_3d", batch.images, batch.images[batch.partner])
    torch.testing.assert_close(output, two, atol=1e-5, rtol=1e-5)


def test_the_interval_holds_the_value_and_shrinks_with_observations() -> None:
    rng = np.random.default_rng(0)
    few, many = (root_mean_square(rng.normal(0, 2, n), "mm") for n in (50, 5000))
    assert few.low < few.value < few.high
    assert many.value == pytest.approx(2.0, rel=0.05)
    assert many.high - many.low < 0.2 * (few.high - few.low)
    assert root_mean_square(np.zeros(4), "mm").value == 0.0


def test_a_validation_survives_plain_containers(config: TrainConfig, network: T3) -> None:
    scores = tuple(scored(config, network, head)[1] for head in HEADS)
    seen = Validation(7, 0.5, {"mini/cls_cnc": 1.5}, scores)
    assert Validation.from_plain(seen.plain()) == seen
    assert seen.loss == pytest.approx(np.mean([s.loss for s in scores]))
    assert replace(seen, scores=scores[:1]).loss == scores[0].loss
