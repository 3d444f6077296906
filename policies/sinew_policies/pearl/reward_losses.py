"""Losses of robust reward learning: Bradley-Terry on sampled returns, and a floor under the uncertainty."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def preference_loss(score_a: Tensor, score_b: Tensor, z: Tensor) -> Tensor:
    """Mean cross-entropy of P[a preferred] = sigmoid(score_a - score_b) against soft labels z; all (K,)."""
    return F.binary_cross_entropy_with_logits(score_a - score_b, z)


def sampled_score(mu: Tensor, log_sigma: Tensor, noise: Tensor, *, mean: bool) -> Tensor:
    """One draw of each segment's score (N,): the sum (or mean) over time of r = mu + sigma * eps, mu and log_sigma
    (N, H). Independent Gaussians add up to a Gaussian, so one number of noise (N,) per segment has the same law.
    """
    total = mu.sum(1) + noise * torch.exp(2.0 * log_sigma).sum(1).sqrt()
    return total / mu.shape[1] if mean else total


def entropy_hinge(log_sigma: Tensor, floor: float) -> Tensor:
    """Mean of max(0, floor - h), h = log(2 pi e sigma^2) / 2 the entropy of each step's reward in nats."""
    entropy = 0.5 * math.log(2.0 * math.pi * math.e) + log_sigma
    return torch.relu(floor - entropy).mean()
