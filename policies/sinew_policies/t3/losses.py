"""Losses of the decoders: reconstruction of masked patches, classification, image variance, relative pose."""

from typing import Literal, assert_never

from torch import Tensor
from torch.nn import functional as F

from sinew_policies.t3.patches import patchify

LossKind = Literal["cross_entropy", "mse", "sqrt_mse_fifth"]

_PATCH_VARIANCE_EPS = 1e-6


def supervised_loss(kind: LossKind, output: Tensor, target: Tensor) -> Tensor:
    """Scalar loss of raw head output (B, K) against class ids (B,) int64 or numbers (B, K)."""
    match kind:
        case "cross_entropy":
            return F.cross_entropy(output, target)
        case "mse":
            return F.mse_loss(output, target)
        case "sqrt_mse_fifth":
            # The root has no derivative at a perfect fit; the floor is far below any label's resolution.
            return F.mse_loss(output, target).clamp_min(1e-12).sqrt() / 5.0
        case _:
            assert_never(kind)


def reconstruction_loss(prediction: Tensor, images: Tensor, mask: Tensor, *, patch: int, norm_pix: bool) -> Tensor:
    """Mean squared error over the removed patches.

    prediction (B, N, patch² · 3), or (B, M, patch² · 3) of the M removed patches alone, in ascending order;
    images (B, 3, H, W) as the encoder saw them; mask (B, N), 1 = removed. With `norm_pix` each target patch has its
    own mean and (unbiased) deviation taken out, so that contrast counts and shade does not.
    """
    target = patchify(images, patch)
    if norm_pix:
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (variance + _PATCH_VARIANCE_EPS).sqrt()
    removed = mask.bool()
    if prediction.shape[1] == target.shape[1]:
        prediction = prediction[removed]
    return F.mse_loss(prediction.flatten(0, -2), target[removed])
