"""The Preference Transformer's backbone (arXiv 2303.00957) with a Gaussian head.

Actions and states are interleaved [a_0, s_0, a_1, s_1, …] and pass a causal GPT-2 trunk; the output at the state of
step t has seen both its action and its state, and is that step's feature.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sinew_policies.common.errors import ConfigError


@dataclass(frozen=True)
class TransformerConfig:
    """The sizes of every documented training of the published code."""

    width: int = 256
    layers: int = 1
    heads: int = 4
    dropout: float = 0.1
    max_steps: int = 500
    weighted_sum: bool = False  # a bidirectional preference attention over the steps' rewards

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.max_steps) < 1 or self.width % self.heads:
            raise ConfigError(
                f"transformer of width {self.width}, {self.layers} layers, {self.heads} heads, {self.max_steps} "
                "steps: expected at least 1 each and a width that is a multiple of the heads"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout is {self.dropout}; expected 0 to below 1")


class PreferenceTransformer(nn.Module):
    def __init__(self, observation_dim: int, action_dim: int, config: TransformerConfig) -> None:
        super().__init__()
        self.config, w = config, config.width
        self.embed_state = nn.Linear(observation_dim, w)
        self.embed_action = nn.Linear(action_dim, w)
        self.embed_time = nn.Embedding(config.max_steps + 1, w)  # counted from 1
        self.norm_in = nn.LayerNorm(w)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(w)
        self.head = nn.Linear(w, 2)  # mean and log sigma
        self.attention = nn.Linear(w, 2 * w) if config.weighted_sum else None  # query and key

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sigma (N, H) of each step's reward, from observations (N, H, O) and actions (N, H, A).

        Raises ConfigError for more steps than the time embedding has.
        """
        n, steps, _ = observations.shape
        if steps > self.config.max_steps:
            raise ConfigError(
                f"segment of {steps} steps, but the transformer was made for {self.config.max_steps}; cut shorter "
                "segments or raise transformer.max_steps"
            )
        time = self.embed_time(torch.arange(1, steps + 1, device=observations.device))  # (H, W)
        tokens = torch.stack([self.embed_action(actions) + time, self.embed_state(observations) + time], 2)
        x = self.norm_in(tokens.view(n, 2 * steps, -1))  # (N, 2 H, W)
        for block in self.blocks:
            x = block(x)
        feature = self.norm_out(x)[:, 1::2]  # (N, H, W)
        mu, log_sigma = self.head(feature).unbind(-1)
        if self.attention is None:
            return mu, log_sigma
        query, key = self.attention(feature).chunk(2, -1)
        share = torch.softmax(query @ key.mT / query.shape[-1] ** 0.5, -1)  # (N, H, H)
        # A weighted sum of independent Gaussians is a Gaussian.
        variance = share.square() @ torch.exp(2.0 * log_sigma)[..., None]
        return (share @ mu[..., None])[..., 0], 0.5 * torch.log(variance)[..., 0]


class _Block(nn.Module):
    """A GPT-2 block: attention and feed-forward, each behind a LayerNorm and beside a shortcut."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        w = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(w), nn.LayerNorm(w)
        self.qkv, self.out = nn.Linear(w, 3 * w), nn.Linear(w, w)
        self.feed = nn.Sequential(nn.Linear(w, 4 * w), nn.GELU(approximate="tanh"), nn.Linear(4 * w, w))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, w = x.shape
        q, k, v = self.qkv(self.norm_1(x)).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        drop = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=drop)
        x = x + self.drop(self.out(y.transpose(1, 2).reshape(n, tokens, w)))
        return x + self.drop(self.feed(self.norm_2(x)))
