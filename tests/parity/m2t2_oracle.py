"""Reads the recorded M2T2 cases: configuration, weights by rule, inputs, expected values, tolerances."""

import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.network import M2T2, SceneInput

ATOL = 1e-4
LOSS_RTOL = 1e-3
POSES_MAY_DISAGREE = {"fine": 0.0, "coarse": 1e-3}


def oracle_folder() -> Path:
    default = Path(__file__).parents[1] / "data" / "oracles"
    return Path(os.environ.get("SINEW_ORACLES", default)) / "m2t2"


def case_folders(kind: str) -> list[Path]:
    """Folders whose config.json is of this kind: 'inference' or 'loss'."""
    found = sorted(p.parent for p in oracle_folder().glob("*/config.json"))
    return [p for p in found if json.loads((p / "config.json").read_text())["kind"] == kind]


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
        self.raw = json.loads((folder / "config.json").read_text())
        self.config = _config(self.raw)
        self.strides = STRIDES[self.raw.get("subsampling", "fine")]
        with np.load(folder / "inputs.npz", allow_pickle=False) as data:
            self.inputs = {k: data[k] for k in data.files}

    def network(self) -> M2T2:
        net = M2T2(self.config)
        net.load_state_dict(weights_for(self.raw["weights"], self.folder.parent), strict=True)
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


def weights_for(wanted: dict, folder: Path) -> dict[str, torch.Tensor]:
    """State dict of the index beside the case folders that reproduces count, elements and sha256."""
    tried = []
    for path in sorted(folder.glob("weights_index*.json")):
        index = json.loads(path.read_text())
        floats = sum(int(np.prod(s)) for d, s in index.values() if d.startswith("float"))
        tried.append((path.name, len(index), floats))
        if (len(index), floats) == (wanted["count"], wanted["elements"]):
            state, digest = _make_weights(path)
            if digest == wanted["sha256"]:
                return state
    raise AssertionError(f"no index reproduces {wanted['count']} tensors, {wanted['elements']} floats: {tried}")


@cache
def _make_weights(index_path: Path) -> tuple[dict[str, torch.Tensor], str]:
    state, digest = {}, hashlib.sha256()
    for name, (dtype, shape) in sorted(json.loads(index_path.read_text()).items()):
        value = weight_by_rule(name, tuple(shape))
        state[name] = torch.from_numpy(value)
        if dtype.startswith("float"):
            digest.update(value.astype("<f4").tobytes())
    return state, digest.hexdigest()


def weight_by_rule(name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
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
