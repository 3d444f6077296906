"""The M2T2 network: one cloud in, grasp and placement masks and contact actions out (arXiv 2311.00926)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sinew_policies.common.errors import DataError
from sinew_policies.m2t2.actions import ActionDecoder, Actions
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.decoder import MLP, ContactDecoder, DecoderOutput
from sinew_policies.m2t2.encoder import HeldObjectEncoder, SceneEncoder
from sinew_policies.m2t2.neighbours import Neighbours, scene_neighbours


@dataclass(frozen=True)
class SceneInput:
    """A batch of B clouds of N points."""

    xyz: Tensor  # (B, N, 3) metres, minus the mean of the complete cloud
    features: Tensor | None = None  # (B, N, c) colour and height channels, as the config says
    held_xyz: Tensor | None = None  # (B, M, 3) held object in the gripper frame minus its mean
    held_rgb: Tensor | None = None  # (B, M, 3) normalised colour
    is_place: Tensor | None = None  # (B,) bool; None: all pick
    text: Tensor | None = None  # (B, T, W) text token features
    neighbours: Neighbours | None = None  # made from xyz when absent


@dataclass(frozen=True)
class M2T2Output:
    decoder: DecoderOutput
    features: list[Tensor]  # five levels (B, P, C), finest first
    held_features: list[Tensor]  # levels of the held object, times is_place; empty without place queries
    neighbours: Neighbours
    point_logits: Tensor | None = None  # (B, N) a good contact of whatever object; with the dense head


class M2T2(nn.Module):
    """State-dict names and shapes are the published ones; extra heads exist only where the config asks."""

    def __init__(self, config: M2T2Config) -> None:
        super().__init__()
        self.config = config
        self.backbone = SceneEncoder(config)
        if config.has_place:
            self.object_encoder = HeldObjectEncoder(config)
        self.transformer = ContactDecoder(config)
        self.grasp_mlp = ActionDecoder(config)
        if config.dense_head:
            self.point_head = MLP(config.level_channels(config.mask_level), (config.action_hidden,), 1)

    def forward(self, scene: SceneInput, *, all_predictions: bool = True) -> M2T2Output:
        """Raises DataError when a part that the configuration needs is absent."""
        c = self.config
        if c.n_feature_channels and scene.features is None:
            raise DataError(f"the network needs {c.n_feature_channels} feature channels per point; got none")
        if c.n_text_tokens and scene.text is None:
            raise DataError(f"the network needs text tokens ({c.n_text_tokens}, {c.text_width}); got none")
        neighbours = scene.neighbours or scene_neighbours(scene.xyz, c)
        features = self.backbone(scene.features if c.n_feature_channels else None, neighbours)
        held = self._held(scene) if c.has_place else []
        decoder = self.transformer(
            features,
            neighbours,
            held[-1] if held else None,
            scene.text,
            all_predictions=all_predictions,
        )
        point_logits = self.point_head(features[c.mask_level]).squeeze(-1) if c.dense_head else None
        return M2T2Output(decoder, features, held, neighbours, point_logits)

    def actions(self, output: M2T2Output, scene: Tensor, query: Tensor, point: Tensor) -> Actions:
        """Action heads at K contacts: scene, query and point index each (K,)."""
        level = output.features[self.config.mask_level]
        features = level.flatten(0, 1).index_select(0, scene * level.shape[1] + point)
        if self.config.action_uses_query_embedding:
            features = torch.cat([features, output.decoder.grasp_embedding[scene, query]], -1)
        return self.grasp_mlp(features)

    def _held(self, scene: SceneInput) -> list[Tensor]:
        """Levels of the held object. When nothing is placed they are zero by definition and not computed."""
        c, xyz = self.config, scene.xyz
        held_xyz, held_rgb = scene.held_xyz, scene.held_rgb
        if scene.is_place is None or not bool(scene.is_place.any()):
            n_held = c.n_held_points if held_xyz is None else held_xyz.shape[1]
            levels = self.object_encoder.zeros(n_held, len(xyz), xyz)
            return [xyz.new_zeros(len(xyz), n_held, 3), *levels] if c.use_rgb else levels
        if held_xyz is None or (c.use_rgb and held_rgb is None):
            raise DataError("placing needs the held object's points (held_xyz, and held_rgb with colour)")
        levels = self.object_encoder(held_rgb if c.use_rgb else None, held_xyz)
        if c.use_rgb:
            assert held_rgb is not None
            levels = [held_rgb, *levels]
        factor = scene.is_place.to(xyz.dtype)[:, None, None]
        return [level * factor for level in levels]
