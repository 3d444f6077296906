"""Action decoder: contact points and directions to gripper poses (M2T2 section 3.3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.decoder import MLP


@dataclass(frozen=True)
class Actions:
    """Raw head outputs at K contact points."""

    contact_dir: Tensor  # (K, 3) unit, towards the opposite contact
    approach_dir: Tensor  # (K, 3) unit, orthogonal to contact_dir
    width_logits: Tensor  # (K, bins)


@dataclass(frozen=True)
class Extras:
    """Further regressions of the language variant, one row per grasp query."""

    params: Tensor  # (B, Q, 4) pre-approach distance, post distance, twist about approach, retract distance
    release_logit: Tensor  # (B, Q)


class ActionDecoder(nn.Module):
    """`grasp_mlp` in the published state dict."""

    def __init__(self, config: M2T2Config) -> None:
        super().__init__()
        d, hidden = config.token_width, (config.action_hidden,) * (config.action_layers - 1)
        c_in = config.level_channels(config.mask_level) + d * config.action_uses_query_embedding
        self.contact_dir_head = MLP(c_in, hidden, 3)
        self.approach_dir_head = MLP(c_in, hidden, 3)
        self.offset_head = MLP(c_in, hidden, len(config.width_edges_m) - 1)
        if config.n_extra_params:
            self.param_head = MLP(d, hidden, config.n_extra_params)
            self.release_head = MLP(d, hidden, 1)

    def forward(self, features: Tensor) -> Actions:
        """features (K, C) of the contact points, followed by the query embedding where configured."""
        contact = F.normalize(self.contact_dir_head(features), dim=-1)
        raw = self.approach_dir_head(features)
        approach = F.normalize(raw - contact * (contact * raw).sum(-1, keepdim=True), dim=-1)
        return Actions(contact, approach, self.offset_head(features))

    def extras(self, embedding: Tensor) -> Extras:
        """Of query embeddings (B, Q, d); only where n_extra_params > 0."""
        return Extras(self.param_head(embedding), self.release_head(embedding).squeeze(-1))


def bin_centres_m(config: M2T2Config, like: Tensor) -> Tensor:
    edges = torch.tensor(config.width_edges_m, device=like.device, dtype=like.dtype)
    return (edges[1:] + edges[:-1]) / 2


def grasp_poses(
    contacts: Tensor, contact_dir: Tensor, approach_dir: Tensor, width_m: Tensor, depth_m: float
) -> Tensor:
    """Poses (K, 4, 4) with x = contact_dir, z = approach_dir, origin depth_m behind the contacts' midpoint."""
    out = contacts.new_zeros(len(contacts), 4, 4)
    out[:, :3, 0] = contact_dir
    out[:, :3, 1] = torch.linalg.cross(approach_dir, contact_dir, dim=-1)
    out[:, :3, 2] = approach_dir
    out[:, :3, 3] = contacts + contact_dir * width_m[:, None] / 2 - depth_m * approach_dir
    out[:, 3, 3] = 1.0
    return out
