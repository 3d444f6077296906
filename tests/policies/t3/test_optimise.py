from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from policies.t3.touch_sets import SHAPE

from sinew_policies.common.errors import CheckpointError
from sinew_policies.t3.optimise import Freezer, check_same_step, learning_rate, make_optimiser, set_learning_rate
from sinew_policies.t3.starting import starting_network
from sinew_policies.t3.train_config import Shape, TrainConfig

CONFIG = TrainConfig("supervise", Path(), Path(), 100, shape=SHAPE)


@pytest.mark.parametrize(("step", "published"), [(1, 9.997533048548475e-05), (10, 9.755307053217622e-05)])
def test_the_learning_rate_is_the_published_cosine(step: int, published: float) -> None:
    assert learning_rate(step, 100, 1e-4, 1e-8) == pytest.approx(published, rel=1e-9)


def test_the_learning_rate_ends_at_its_floor_and_stays() -> None:
    rates = [learning_rate(s, 50, 1e-3, 1e-8) for s in range(60)]
    assert rates[0] == 1e-3
    assert rates[50] == rates[59] == 1e-8
    assert all(a >= b for a, b in pairwise(rates))


def test_the_defaults_are_the_published_recipe() -> None:
    c = TrainConfig("pretrain", Path(), Path())
    assert (c.steps, c.batch, c.mix) == (100_000, 64, "root")
    assert (c.lr, c.lr_floor, c.other_lr_scale) == (1e-4, 1e-8, 1.0)
    assert (c.validate_every, c.validation_batches, c.best_after) == (750, 50, 50)
    assert c.masking == 0.4
    assert replace(c, cross_reconstruction=True).masking == 0.3
    assert replace(c, stage="supervise").masking is None
    reconstruction = c.shape.reconstruction(cross=False)
    assert (reconstruction.recon_width, reconstruction.recon_depth, reconstruction.recon_heads) == (512, 8, 16)
    network = starting_network(replace(c, shape=SHAPE), ("mini",), ("mae_recon_single",))
    assert network.config.encoder.masking == 0.4
    for group in make_optimiser(network, c).param_groups:
        assert (group["eps"], group["weight_decay"], group["betas"]) == (1e-6, 0.1, (0.9, 0.999))


def test_everything_but_the_trunk_may_have_its_own_rate() -> None:
    config = replace(CONFIG, other_lr_scale=0.5)
    network = starting_network(config, ("mini",), ("cls_cnc",))
    optimiser = make_optimiser(network, config)
    set_learning_rate(optimiser, 0, config)
    trunk, others = optimiser.param_groups
    assert trunk["lr"] == 1e-4
    assert others["lr"] == 0.5e-4
    counted = sum(len(group["params"]) for group in optimiser.param_groups)
    assert counted == len(list(network.parameters()))


def test_fixed_positions_of_reconstruction_are_never_trained() -> None:
    config = replace(CONFIG, stage="pretrain", freeze_trunk=True, unfreeze_at=1, start=Path("somewhere"))
    network = starting_network(replace(config, start=None, freeze_trunk=False, unfreeze_at=None), ("mini",), ())
    freezer = Freezer(network, replace(config, freeze_encoder=True))
    for step, free in ((0, False), (1, True)):
        freezer.apply(step)
        assert network.trunk.norm.weight.requires_grad == free
        assert network.encoder("mini").cls_token.requires_grad == free
        assert not network.encoder("mini").pos_embed.requires_grad


def test_processes_that_would_go_on_from_different_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_same_step(300, Path("run"))  # alone

    def with_another_at_200(tensor: torch.Tensor, op: object) -> None:
        tensor.copy_(torch.maximum(tensor, torch.tensor([200, -200])))

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", with_another_at_200)
    check_same_step(200, Path("run"))
    with pytest.raises(CheckpointError, match="from steps 200 and 300; run must be one folder"):
        check_same_step(300, Path("run"))


def test_a_new_network_follows_seed_and_shape() -> None:
    a, b, c = (
        starting_network(replace(CONFIG, seed=s), ("mini", "wedge"), ("cls_cnc",)).state_dict() for s in (0, 0, 1)
    )
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert any(not torch.equal(a[n], c[n]) for n in a)
    assert a["trunk.norm.weight"].shape == (SHAPE.width,)
    assert Shape.of_size("small").width == 384
