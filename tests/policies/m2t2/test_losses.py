"""Terms that the recorded cases do not hold: the language variant's."""

from dataclasses import replace

import pytest
import torch
from policies.m2t2.small_networks import LANGUAGE

from sinew_policies.common.errors import DataError
from sinew_policies.m2t2.losses import LossConfig, m2t2_loss
from sinew_policies.m2t2.network import M2T2, SceneInput
from sinew_policies.m2t2.targets import ContactLabels, ExtraLabels, Targets


def labelled(points: torch.Tensor, extras: ExtraLabels | None) -> Targets:
    """Two scenes whose first 40 points are good contacts of one object."""
    masks = torch.zeros(2, 1, points.shape[1])
    masks[:, :, :40] = 1.0
    at = torch.tensor([0, 1])
    up = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    labels = ContactLabels(
        at, torch.zeros(2, dtype=torch.int64), torch.tensor([3, 5]), up, up, torch.full((2,), 0.03)
    )
    grasps = [torch.eye(4)[None], torch.eye(4)[None]]
    of = [torch.zeros(1, dtype=torch.int64)] * 2
    return Targets(masks, [1, 1], labels, grasps, of, points, extras=extras)


def test_params_and_release_are_what_their_definitions_say_and_train_their_heads() -> None:
    torch.manual_seed(0)
    network = M2T2(LANGUAGE).eval()
    points = torch.rand(2, 512, 3) * 0.4
    output = network(SceneInput(points, text=torch.randn(2, 3, 8)))
    extras = ExtraLabels(torch.rand(2, 4), torch.tensor([1.0, 0.0]))
    plain = m2t2_loss(network, output, labelled(points, None), LossConfig())
    result = m2t2_loss(network, output, labelled(points, extras), replace(LossConfig(), params=2.0))
    got = network.grasp_mlp.extras(output.decoder.grasp_embedding)
    mean_square = (got.params[:, 0] - extras.params).square().mean()
    chance = got.release_logit[:, 0].sigmoid()
    entropy = -(extras.release * chance.log() + (1 - extras.release) * (1 - chance).log()).mean()
    torch.testing.assert_close(result.terms["params"].value, mean_square)
    torch.testing.assert_close(result.terms["release"].value, entropy)
    torch.testing.assert_close(result.total, plain.total + 2.0 * mean_square + entropy)
    result.total.backward()
    for head in (network.grasp_mlp.param_head, network.grasp_mlp.release_head):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


def test_extra_labels_without_their_heads_are_refused() -> None:
    network = M2T2(replace(LANGUAGE, n_extra_params=0)).eval()
    points = torch.rand(2, 512, 3) * 0.4
    output = network(SceneInput(points, text=torch.randn(2, 3, 8)))
    extras = ExtraLabels(torch.rand(2, 4), torch.zeros(2))
    with pytest.raises(DataError, match="n_extra_params"):
        m2t2_loss(network, output, labelled(points, extras), LossConfig())
