"""Reads the recorded M2T2 cases: configuration, weights by rule, inputs, expected values, tolerances."""

import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from parity.recorded import oracle_folder, read_arrays, read_json, weights_for

from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.losses import LossConfig
from sinew_policies.m2t2.matching import MatchWeights
from sinew_policies.m2t2.network import M2T2, SceneInput
from sinew_policies.m2t2.targets import ContactLabels, Targets

ATOL = 1e-4
LOSS_RTOL = 1e-3
POSES_MAY_DISAGREE = {"fine": 0.0, "coarse": 1e-3}


FOLDER = oracle_folder("m2t2")


def case_kinds() -> dict[Path, str]:
    """Every case folder and its kind, 'inference' or 'loss'."""
    return {p.parent: read_json(p)["kind"] for p in sorted(FOLDER.glob("*/config.json"))}


@dataclass(frozen=True)
class Strides:
    """Step over rows or columns that the recording took, by its `subsampling` word."""

    features: tuple[int, int, int, int, int]
    held: int
    masks_ends: int  # first and last prediction
    masks_between: int
    ball: int
    nn3: int
    poses: int  # rows kept


STRIDES = {
    "fine": Strides((4, 2, 1, 1, 1), 1, 1, 16, 1, 1, 4000),
    "coarse": Strides((64, 64, 8, 8, 8), 4, 64, 128, 8, 16, 2000),
}


class Case:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw = read_json(folder / "config.json")
        self.config = _config(self.raw)
        self.strides = STRIDES[self.raw.get("subsampling", "fine")]
        self.inputs = read_arrays(folder / "inputs.npz")

    def network(self) -> M2T2:
        net = M2T2(self.config)
        net.load_state_dict(weights_for(self.raw["weights"], [self.folder.parent], weight_by_rule), strict=True)
        return net.eval()

    def scene(self, prefix: str = "") -> SceneInput:
        a = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in self.inputs.items() if k.startswith(prefix)}
        rgb = self.config.use_rgb
        return SceneInput(
            xyz=a["inputs"][None, :, :3].contiguous(),
            features=a["inputs"][None, :, 3:] if rgb else None,
            held_xyz=a["object_inputs"][None, :, :3].contiguous(),
            held_rgb=a["object_inputs"][None, :, 3:] if rgb else None,
            is_place=a["task_is_place"].reshape(1),
            text=a["text_tokens"][None] if "text_tokens" in a else None,
        )


def weight_by_rule(name: str, kind: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    parts = name.split(".")
    if parts[-1] == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    r = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    if parts[-1] == "running_var":
        w = 1 + 0.5 * np.abs(r)
    elif parts[-1] == "running_mean" or "bias" in parts[-1]:
        w = 0.1 * r
    elif len(shape) == 1:
        w = 1 + 0.1 * r
    elif parts[-2] in ("query_embed", "query_pos_enc", "scale_embed", "task_embed"):
        w = r
    elif len(shape) == 4:
        w = r * np.sqrt(2 / shape[1])
        if ".SA_modules." in name and name.endswith(".0.weight"):
            w[:, :3] *= 24
    else:
        w = r / np.sqrt(shape[-1])
    return w.astype(np.float16).astype(np.float32)


def _config(raw: dict) -> M2T2Config:
    return M2T2Config(
        n_points=raw["n_points"],
        n_held_points=raw["n_held_points"],
        level_divisor=raw["level_divisor"],
        radius_0_m=raw["radius_0"],
        radius_growth=raw["radius_growth"],
        group_small=raw["group_small"],
        group_large=raw["group_large"],
        use_rgb=raw["use_colour"],
        mask_level=raw["mask_level"],
        attended_levels=tuple(raw["attended_levels"]),
        token_width=raw["token_width"],
        ffn_width=raw["ffn_width"],
        n_layers=raw["n_layers"],
        n_heads=raw["n_heads"],
        n_grasp_queries=raw["n_grasp_slots"],
        n_place_queries=raw["n_place_slots"],
        n_text_tokens=raw["n_text_tokens"],
        text_width=raw["text_width"],
        masked_attention=raw["masked_attention"],
        task_embedding=raw["task_embedding"],
        action_hidden=raw["action_hidden"],
        action_layers=raw["action_layers"],
        action_uses_query_embedding=raw["action_uses_slot_embedding"],
        n_extra_params=raw["n_extra_params"],
        width_edges_m=tuple(raw["width_bin_edges"]),
        gripper_depth_m=raw["gripper_depth"],
        place_lift_m=raw["place_lift"],
        max_points_per_query=raw["max_points_per_slot"],
        mask_threshold=raw.get("mask_threshold") or 0.4,
        object_threshold=raw.get("object_threshold") or 0.4,
        compat=True,
    )


_LOSS_KEYS = (
    "objectness",
    "unmatched_factor",
    "grasp_topk",
    "grasp_bce",
    "grasp_dice",
    "place_topk",
    "place_bce",
    "place_dice",
    "all_layers",
    "rematch_each_layer",
    "adds_pred_to_gt",
    "adds_gt_to_pred",
    "contact_dir",
    "approach_dir",
    "width_bin",
    "confidence_threshold",
)


def loss_config(raw: dict) -> LossConfig:
    return LossConfig(
        match=MatchWeights(**raw["match"]),
        width_class_weights=tuple(raw["width_bin_class_weights"]),
        **{k: raw[k] for k in _LOSS_KEYS},
    )


def loss_batch(case: Case) -> tuple[SceneInput, Targets]:
    """The scenes of a loss case as one batch."""
    n = len(case.raw["scenes"])
    arrays = [
        {k.split("_", 1)[1]: torch.from_numpy(v) for k, v in case.inputs.items() if k.startswith(f"s{i}_")}
        for i in range(n)
    ]
    stack = {k: torch.stack([a[k] for a in arrays]) for k in ("inputs", "object_inputs", "points")}
    is_place = torch.stack([a["task_is_place"].reshape(()) for a in arrays])
    rgb = case.config.use_rgb
    scene = SceneInput(
        xyz=stack["inputs"][..., :3].contiguous(),
        features=stack["inputs"][..., 3:] if rgb else None,
        held_xyz=stack["object_inputs"][..., :3].contiguous(),
        held_rgb=stack["object_inputs"][..., 3:] if rgb else None,
        is_place=is_place,
    )
    n_objects = [len(a["grasp_masks"]) for a in arrays]
    masks = torch.zeros(n, max(n_objects), case.config.n_points)
    rows: list[ContactLabels] = []
    for i, a in enumerate(arrays):
        masks[i, : n_objects[i]] = a["grasp_masks"].float()
        # Rows of label arrays are points in ascending order; regroup them object by object.
        obj = a["grasp_masks"][:, a["label_points"].long()].float().argmax(0) if n_objects[i] else torch.zeros(0)
        order = torch.argsort(obj, stable=True)
        rows.append(
            ContactLabels(
                torch.full((len(order),), i),
                obj[order].long(),
                a["label_points"][order].long(),
                a["label_contact_dir"][order],
                a["label_approach_dir"][order],
                a["label_width"][order],
            )
        )
    labels = ContactLabels(*(torch.cat([getattr(r, f.name) for r in rows]) for f in fields(ContactLabels)))
    sizes = [[len(a[f"grasps_{j}"]) for j in range(k)] for a, k in zip(arrays, n_objects, strict=True)]
    owners = [torch.arange(len(n)).repeat_interleave(torch.tensor(n, dtype=torch.int64)) for n in sizes]
    grasps = [
        torch.cat([a[f"grasps_{j}"] for j in range(k)]) if k else torch.zeros(0, 4, 4)
        for a, k in zip(arrays, n_objects, strict=True)
    ]
    return scene, Targets(
        masks,
        n_objects,
        labels,
        grasps,
        owners,
        stack["points"],
        is_place=is_place,
        place_masks=torch.stack([a["place_masks"] for a in arrays]).float(),
        place_region=torch.stack([a["place_region"] for a in arrays]).float(),
    )
