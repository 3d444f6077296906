import pytest
import torch

from sinew_policies.t3.losses import reconstruction_loss, supervised_loss
from sinew_policies.t3.patches import patchify

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_reconstruction_counts_removed_patches_only() -> None:
    mask = torch.tensor([[1.0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0]])
    prediction = patchify(IMAGES, 16).clone()
    prediction[mask == 0] = 1e3
    assert reconstruction_loss(prediction, IMAGES, mask, patch=16, norm_pix=False) == 0.0
    prediction[0, 0] += 2.0
    loss = reconstruction_loss(prediction, IMAGES, mask, patch=16, norm_pix=False)
    assert loss == pytest.approx(4.0 / 4, rel=1e-5)


def test_reconstruction_takes_the_removed_patches_alone() -> None:
    mask = torch.tensor([[1.0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 0, 0]])
    full = torch.rand(2, 6, 768)
    alone = full[mask.bool()].reshape(2, 2, 768)
    for norm_pix in (True, False):
        a = reconstruction_loss(full, IMAGES, mask, patch=16, norm_pix=norm_pix)
        b = reconstruction_loss(alone, IMAGES, mask, patch=16, norm_pix=norm_pix)
        assert a == pytest.approx(float(b), rel=1e-6)


def test_normalised_pixels_ignore_shade_and_contrast_of_a_patch() -> None:
    mask = torch.ones(2, 6)
    prediction = torch.rand(2, 6, 768)
    a = reconstruction_loss(prediction, IMAGES, mask, patch=16, norm_pix=True)
    b = reconstruction_loss(prediction, 3.0 * IMAGES + 7.0, mask, patch=16, norm_pix=True)
    assert a == pytest.approx(float(b), rel=1e-4)
    assert reconstruction_loss(torch.zeros(2, 6, 768), IMAGES, mask, patch=16, norm_pix=True) == pytest.approx(
        767 / 768,
        rel=1e-4,  # unbiased variance
    )


def test_the_variance_loss_is_a_fifth_of_the_root_mean_square_and_differentiable_at_a_perfect_fit() -> None:
    target = torch.tensor([[10.0], [20.0]])
    output = torch.tensor([[13.0], [16.0]], requires_grad=True)
    assert supervised_loss("sqrt_mse_fifth", output, target).item() == pytest.approx((12.5**0.5) / 5)
    perfect = target.clone().requires_grad_()
    supervised_loss("sqrt_mse_fifth", perfect, target).backward()
    assert perfect.grad is not None
    assert torch.isfinite(perfect.grad).all()


def test_classification_and_pose_losses() -> None:
    logits = torch.zeros(4, 10)
    assert supervised_loss("cross_entropy", logits, torch.tensor([0, 3, 9, 1])).item() == pytest.approx(2.302585)
    assert supervised_loss("mse", torch.ones(2, 9), torch.zeros(2, 9)) == 1.0
