"""Contact decoder: queries attend to the scene through their own masks (M2T2 section 3.2)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.neighbours import Neighbours


@dataclass(frozen=True)
class MaskPrediction:
    """What the queries say after some layer; logits."""

    objectness: Tensor | None  # (B, Qg)
    grasp_masks: Tensor  # (B, Qg, N)
    place_masks: Tensor | None  # (B, Qp, N)


@dataclass(frozen=True)
class DecoderOutput:
    predictions: tuple[MaskPrediction, ...]  # before the first layer, then after each one
    grasp_embedding: Tensor  # (B, Qg, d)
    place_embedding: Tensor | None  # (B, Qp, d)
    blocked_counts: Tensor  # (B, layers, Qg + Qp) memory points each query's mask blocks


class ContactDecoder(nn.Module):
    """`transformer` in the published state dict."""

    def __init__(self, config: M2T2Config) -> None:
        super().__init__()
        self.config = config
        d = config.token_width
        n_queries = config.n_grasp_queries + config.n_place_queries
        self.query_embed = nn.Embedding(n_queries, d)
        self.query_pos_enc = nn.Embedding(n_queries + config.n_text_tokens, d)
        if config.has_place:
            self.place_embed_proj = nn.Linear(config.channels(512), d)
        if config.n_text_tokens:
            self.lang_token_proj = nn.Linear(config.text_width, d)
        self.scale_embed = nn.Embedding(len(config.attended_levels), d)
        self.scene_feature_proj = nn.ModuleList()
        for level in config.attended_levels:
            c = config.level_channels(level)
            self.scene_feature_proj.append(nn.Conv2d(c, d, 1) if c != d else nn.Identity())
        layers = range(config.n_layers)
        self.cross_attention_layers = nn.ModuleList([_AttentionLayer(d, config.n_heads) for _ in layers])
        self.self_attention_layers = nn.ModuleList([_AttentionLayer(d, config.n_heads) for _ in layers])
        self.ffn_layers = nn.ModuleList([_FeedForward(d, config.ffn_width) for _ in layers])
        self.norm = nn.LayerNorm(d)
        if config.has_objectness:
            self.object_head = nn.Linear(d, 1)
        c_mask = config.level_channels(config.mask_level)
        self.grasp_mask_head = MLP(d, (d, d), c_mask)
        if config.has_place:
            self.place_mask_head = MLP(d, (d, d), c_mask)
        if config.task_embedding:
            self.task_embed = nn.Embedding(2, d)

    def forward(
        self,
        features: list[Tensor],
        neighbours: Neighbours,
        held: Tensor | None,
        text: Tensor | None,
        *,
        all_predictions: bool = True,
    ) -> DecoderOutput:
        """features: five levels (B, P, C); held (B, columns, C) with has_place; text (B, T, W) with text tokens.

        Without `all_predictions` only the last is returned.
        """
        c = self.config
        batch = len(features[0])
        n_queries = c.n_grasp_queries + c.n_place_queries
        embed = self._queries(batch, held, text)
        position = self.query_pos_enc.weight.expand(batch, -1, -1)
        memories = [self._memory(s, features, neighbours) for s in range(len(c.attended_levels))]
        mask_features = features[c.mask_level].transpose(1, 2)

        predictions = [self._predict(embed, mask_features)]
        blocked_counts = []
        for i in range(c.n_layers):
            scale = i % len(c.attended_levels)
            open_: Tensor | None = None
            if c.masked_attention:
                open_ = _open_points(predictions[-1], neighbours, c.attended_levels[scale])
                blocked_counts.append((~open_).sum(2))
                open_ = open_ | ~open_.any(2, keepdim=True)  # a query that sees nothing sees everything
                if c.n_text_tokens:
                    open_ = F.pad(open_, (0, 0, 0, c.n_text_tokens), value=True)
            embed = self.cross_attention_layers[i](embed, position, memories[scale], open_)
            embed = self.self_attention_layers[i](embed, position, None, None)
            embed = self.ffn_layers[i](embed)
            if not all_predictions:
                predictions.clear()
            predictions.append(self._predict(embed, mask_features))
        return DecoderOutput(
            predictions=tuple(predictions),
            grasp_embedding=embed[:, : c.n_grasp_queries],
            place_embedding=embed[:, c.n_grasp_queries : n_queries] if c.has_place else None,
            blocked_counts=torch.stack(blocked_counts, 1)
            if blocked_counts
            else embed.new_zeros(batch, 0, n_queries),
        )

    def _queries(self, batch: int, held: Tensor | None, text: Tensor | None) -> Tensor:
        c = self.config
        weight = self.query_embed.weight
        grasp, place = weight[: c.n_grasp_queries], weight[c.n_grasp_queries :]
        if c.task_embedding:
            grasp = grasp + self.task_embed.weight[0]
            place = place + self.task_embed.weight[1]
        parts = [grasp.expand(batch, -1, -1)]
        if c.has_place:
            assert held is not None
            parts.append(place + self.place_embed_proj(held.amax(1))[:, None])
        if c.n_text_tokens:
            assert text is not None
            parts.append(self.lang_token_proj(text))
        return self.norm(torch.cat(parts, 1))

    def _memory(self, scale: int, features: list[Tensor], neighbours: Neighbours) -> Tensor:
        """Scene tokens (B, M, d) with scale embedding and position code; they serve as keys and as values."""
        c = self.config
        level = c.attended_levels[scale]
        memory, project = features[level], self.scene_feature_proj[scale]
        if isinstance(project, nn.Conv2d):
            memory = F.linear(memory, project.weight.flatten(1), project.bias)
        return memory + (self.scale_embed.weight[scale] + position_code(neighbours.level_xyz(level), c))

    def _predict(self, embed: Tensor, mask_features: Tensor) -> MaskPrediction:
        c = self.config
        grasp = embed[:, : c.n_grasp_queries]
        place = embed[:, c.n_grasp_queries : c.n_grasp_queries + c.n_place_queries]
        return MaskPrediction(
            objectness=self.object_head(grasp).squeeze(2) if c.has_objectness else None,
            grasp_masks=self.grasp_mask_head(grasp) @ mask_features,
            place_masks=self.place_mask_head(place) @ mask_features if c.has_place else None,
        )


class MLP(nn.Module):
    """Linear layers with GELU between; keys mlp.0, mlp.2, .. as published."""

    def __init__(self, c_in: int, hidden: tuple[int, ...], c_out: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(c_in, width), nn.GELU()]
            c_in = width
        self.mlp = nn.Sequential(*layers, nn.Linear(c_in, c_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


def position_code(xyz: Tensor, config: M2T2Config) -> Tensor:
    """Sine code (B, P, token_width) of centred coordinates (B, P, 3)."""
    d = config.token_width
    n_frequencies = math.ceil(d / 6)
    f = torch.arange(n_frequencies, device=xyz.device, dtype=xyz.dtype)
    if config.compat:
        low, high = xyz.amin(-1, keepdim=True), xyz.amax(-1, keepdim=True)
        span = torch.where(high > low, high - low, torch.ones_like(low))  # a point on x = y = z has no span
        angle = ((xyz - low) / span - 0.5)[..., None] * (2 * math.pi * math.pi / 10000 ** (f / n_frequencies))
    else:
        # Wavelengths from four extents down to a sixteenth of one.
        cycles = 2.0 ** (-2.0 + 6.0 * f / max(1, n_frequencies - 1))
        angle = (xyz / config.position_extent_m)[..., None] * (2 * math.pi * cycles)
    code = torch.stack([angle.sin(), angle.cos()], -1)  # (B, P, 3, frequencies, 2)
    return code.flatten(2)[..., :d]


def _open_points(prediction: MaskPrediction, neighbours: Neighbours, level: int) -> Tensor:
    """(B, Qg + Qp, M): memory points with a neighbour, through all levels, inside the query's mask."""
    masks = [prediction.grasp_masks]
    if prediction.place_masks is not None:
        masks.append(prediction.place_masks)
    with torch.no_grad():
        # (B, N, Q), one byte each: the maximum over a group is at least 0 where any member is.
        inside = torch.cat([m.detach() >= 0 for m in masks], 1).transpose(1, 2).contiguous()
        batch, _, n_queries = inside.shape
        for k in range(level):
            idx = neighbours.levels[k].small
            start = torch.arange(batch, device=idx.device)[:, None, None] * inside.shape[1]
            columns = (idx + start).permute(2, 0, 1).flatten(1)  # (group, B·M)
            rows = inside.reshape(-1, n_queries)
            pooled = rows.index_select(0, columns[0])
            for column in columns[1:]:
                pooled |= rows.index_select(0, column)
            inside = pooled.view(batch, -1, n_queries)
        return inside.transpose(1, 2)


class _AttentionLayer(nn.Module):
    def __init__(self, d: int, n_heads: int) -> None:
        super().__init__()
        self.attn = _Attention(d, n_heads)
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor, position: Tensor, memory: Tensor | None, open_: Tensor | None) -> Tensor:
        """Queries (B, Q, d) attend to memory (B, M, d), or to one another when it is None."""
        query = x + position
        return self.norm(x + self.attn(query, query if memory is None else memory, open_))


class _Attention(nn.Module):
    """Multi-head attention whose values carry the position code as the keys do."""

    def __init__(self, d: int, n_heads: int) -> None:
        super().__init__()
        self._n_heads = n_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d, d))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d))
        self.out_proj = nn.Linear(d, d)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, memory: Tensor, open_: Tensor | None) -> Tensor:
        batch, n_queries, d = query.shape
        q = F.linear(query, self.in_proj_weight[:d], self.in_proj_bias[:d])
        k, v = F.linear(memory, self.in_proj_weight[d:], self.in_proj_bias[d:]).chunk(2, -1)
        q, k, v = (x.view(batch, -1, self._n_heads, d // self._n_heads).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if open_ is None else open_[:, None])
        return self.out_proj(out.transpose(1, 2).reshape(batch, n_queries, d))


class _FeedForward(nn.Module):
    def __init__(self, d: int, hidden: int) -> None:
        super().__init__()
        self.ff = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))
        self.norm = nn.LayerNorm(d)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.ff(x))
