"""What a batch should have been predicted as."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ContactLabels:
    """K labelled contact points of a batch, in the order the action heads predict them."""

    scene: Tensor  # (K,) int64
    object: Tensor  # (K,) int64 row of the scene's grasp masks
    point: Tensor  # (K,) int64
    contact_dir: Tensor  # (K, 3)
    approach_dir: Tensor  # (K, 3)
    width_m: Tensor  # (K,)

    def in_point_order(self) -> "ContactLabels":
        """The published loader's order: directions and widths by point within a scene, object by object for the
        rest, so that with two objects or more they no longer belong together."""
        order = torch.argsort(self.scene * (int(self.point.max()) + 1 if len(self.point) else 1) + self.point)
        return ContactLabels(
            self.scene,
            self.object,
            self.point,
            self.contact_dir[order],
            self.approach_dir[order],
            self.width_m[order],
        )


@dataclass(frozen=True)
class ExtraLabels:
    """What the language variant says besides the grasp, per scene."""

    params: Tensor  # (B, 4) pre-approach distance, post distance, twist about approach, retract distance
    release: Tensor  # (B,) 1 where the hand is to open, 0 where it is to close


@dataclass(frozen=True)
class Targets:
    """Labels of B scenes of N points. Labels are object by object within a scene, in point order within one."""

    grasp_masks: Tensor  # (B, T, N) float32; rows beyond n_objects[b] are zero
    n_objects: list[int]
    labels: ContactLabels
    grasps: list[Tensor]  # per scene (G, 4, 4) all good grasps, in the frame of `points`
    grasp_objects: list[Tensor]  # per scene (G,) int64 object of each grasp
    points: Tensor  # (B, N, 3) metres
    known: Tensor | None = None  # (B, N) float32, 0 where the grasp label is unknown; None: all known
    is_place: Tensor | None = None  # (B,) bool; None: all pick
    place_masks: Tensor | None = None  # (B, R, N) float32
    place_region: Tensor | None = None  # (B, N) float32
    extras: "ExtraLabels | None" = None  # language variant only

    @property
    def pick_scenes(self) -> list[int]:
        if self.is_place is None:
            return list(range(len(self.n_objects)))
        return [i for i, place in enumerate(self.is_place.tolist()) if not place]
