import math

import pytest
import torch

from sinew_policies.pearl.reward_losses import entropy_hinge, preference_loss, sampled_score


def test_preference_loss_is_bradley_terry() -> None:
    a, b = torch.tensor([1.0, 0.3]), torch.tensor([0.0, 2.0])
    p = torch.sigmoid(a - b)
    hard = preference_loss(a, b, torch.tensor([1.0, 0.0]))
    assert hard.item() == pytest.approx((-torch.log(torch.stack([p[0], 1 - p[1]]))).mean().item())


def test_swapping_a_pair_and_its_label_changes_nothing() -> None:
    a, b, z = torch.randn(3, 20, generator=torch.Generator().manual_seed(0)).unbind(0)
    z = torch.sigmoid(z)
    assert preference_loss(a, b, z).item() == pytest.approx(preference_loss(b, a, 1 - z).item(), rel=1e-6)


def test_a_tie_pulls_scores_together() -> None:
    difference = torch.tensor([2.0], requires_grad=True)
    preference_loss(difference, torch.zeros(1), torch.tensor([0.5])).backward()
    assert difference.grad is not None
    assert difference.grad.item() > 0


def test_entropy_hinge_is_zero_above_the_floor_and_lifts_sigma_below() -> None:
    floor = 2.0
    enough = floor - 0.5 * math.log(2 * math.pi * math.e)  # log sigma at which the entropy is the floor
    assert entropy_hinge(torch.full((3, 4), enough + 1e-4), floor).item() == 0.0
    log_sigma = torch.full((3, 4), enough - 1.0, requires_grad=True)
    loss = entropy_hinge(log_sigma, floor)
    loss.backward()
    assert loss.item() == pytest.approx(1.0, abs=1e-5)
    assert log_sigma.grad is not None
    assert (log_sigma.grad < 0).all()


@pytest.mark.parametrize("mean", [False, True])
def test_sampled_score_has_the_law_of_summed_step_rewards(mean: bool) -> None:
    g = torch.Generator().manual_seed(1)
    mu, log_sigma = torch.randn(1, 6, generator=g), 0.3 * torch.randn(1, 6, generator=g)
    draws = 200_000
    ours = sampled_score(
        mu.expand(draws, -1), log_sigma.expand(draws, -1), torch.randn(draws, generator=g), mean=mean
    )
    steps = mu + torch.exp(log_sigma) * torch.randn(draws, 6, generator=g)
    direct = steps.mean(1) if mean else steps.sum(1)
    assert ours.mean().item() == pytest.approx(direct.mean().item(), abs=0.03)
    assert ours.std().item() == pytest.approx(direct.std().item(), rel=0.02)
