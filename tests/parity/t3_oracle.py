"""Reads the recorded T3 cases: configuration, weights by rule, inputs, expected values, tolerances."""

import zlib
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from parity.recorded import Arrays, draw, fits, oracle_folder, read_arrays, read_json
from torch import Tensor

from sinew_policies.t3.config import EncoderConfig, HeadConfig, T3Config, TrunkConfig
from sinew_policies.t3.losses import LossKind
from sinew_policies.t3.network import T3
from sinew_policies.t3.positions import sine_cosine_table
from sinew_policies.t3.preprocess import (
    NORMALISATIONS,
    SET_OF_SENSOR,
    Normalisation,
    Preprocessing,
    preprocess_batch,
)

GRADIENT_RTOL = 1e-3
PREPROCESSING_ATOL = 1e-6
POSE_ATOL = 1e-9
_WIDE = 384  # token width from which sums are long enough for the looser bound
_RULE_SEED = 20240613
_CONFIG = "_config.json"
_HEAD_KINDS = {"mlp": "mlp", "conv": "pose", "self_attention": "mae", "cross_attention": "cross_mae"}
_POOLS = {"first_token": "cls", "mean_of_patch_tokens": "global"}
_LOSSES: dict[str, LossKind] = {"mse": "mse", "cross_entropy": "cross_entropy", "sqrt(mse)/5": "sqrt_mse_fifth"}


@dataclass(frozen=True)
class Tolerance:
    atol: float
    rtol: float


FOLDER = oracle_folder("t3")


def config_files() -> list[Path]:
    return sorted(FOLDER.rglob(f"*{_CONFIG}"))


class Case:
    """One recorded network: `<name>_config.json` and the files beside it that begin with the same name."""

    def __init__(self, config_file: Path) -> None:
        self.file = config_file
        self.folder = config_file.parent
        self.name = config_file.name.removesuffix(_CONFIG)
        self.raw = read_json(config_file)
        self.reconstructs = "recon_kind" in self.raw
        self.index = read_json(self.path("weights_index.json"))
        self.config = _config(self.raw, self.index)

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.name}_{suffix}"

    @property
    def tolerance(self) -> Tolerance:
        return Tolerance(1e-4, 1e-3) if self.raw["token_width"] >= _WIDE else Tolerance(2e-5, 1e-4)

    def network(self) -> T3:
        with torch.device("meta"):  # no time spent on weights that are replaced
            net = T3(self.config)
        state = weights_by_rule(self.index, self.raw["weights"])
        net.load_state_dict(state, strict=True, assign=True)
        return net.eval()

    def images(self, sensor: str) -> Tensor:
        """The recorded photographs, preprocessed for the sensor."""
        return preprocess_batch(raw_images(self.folder), preprocessing(self.folder, sensor, self.file))

    def loss_kind(self, head: str) -> LossKind:
        return _LOSSES[self.raw["heads"][head]["loss"]]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(sensor, head) for sensor, head in self.raw["pairs"]]

    @property
    def outputs_file(self) -> Path:
        """Of reconstructions, which stand under the case's name in a file of any name, the nearest by name."""
        if not self.reconstructs:
            return self.path("outputs.npz")
        noise = f"{self.raw['case']}|noise"
        found = [f for f in sorted(self.folder.glob("*outputs.npz")) if noise in read_arrays(f)]
        assert found, f"no *outputs.npz in {self.folder} holds '{noise}'"
        return max(found, key=lambda f: _common_letters(f.name, self.file.name))

    def outputs(self) -> Arrays:
        """Expected values."""
        prefix = f"{self.raw['case']}|" if self.reconstructs else ""
        values = read_arrays(self.outputs_file)
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def inputs_file(folder: Path) -> Path:
    return folder / "inputs.npz"


def raw_images(folder: Path) -> list[NDArray[np.uint8]]:
    images = read_arrays(inputs_file(folder))
    names = sorted(images, key=lambda name: int(name.rpartition("_")[2]))
    return [images[name].astype(np.uint8, casting="no") for name in names]


def preprocessing(folder: Path, sensor: str, *first: Path) -> Preprocessing:
    """With the normalisation that a configuration states, `first` or any of the folder, else with ours."""
    for file in (*first, *sorted(folder.glob(f"*{_CONFIG}"))):
        stated = read_json(file).get("norm", {})
        if sensor in stated:
            mean, std = stated[sensor]
            return Preprocessing(Normalisation(tuple(mean), tuple(std)))
    return Preprocessing(NORMALISATIONS[SET_OF_SENSOR[sensor]])


def weights_by_rule(index: dict, wanted: dict) -> dict[str, Tensor]:
    """State dict drawn as the README says, after checking count, elements, check values and sha256."""
    assert fits(index, wanted)
    drawn = draw(index, partial(_drawn, seed=int(wanted.get("seed", _RULE_SEED))))
    drawn.check(wanted)
    return drawn.state


def _drawn(name: str, kind: str, shape: tuple[int, ...], *, seed: int) -> NDArray[np.generic]:
    if kind == "fixed":
        return sine_cosine_table(round((shape[1] - 1) ** 0.5), shape[2]).numpy()
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode("ascii")) + seed))
    n = generator.standard_normal(shape)
    if leaf == "running_mean":
        w = 0.1 * n
    elif leaf == "running_var":
        w = np.exp(0.2 * n)
    elif leaf == "weight" and len(shape) >= 2:
        w = n / np.sqrt(np.prod(shape[1:]))
    elif leaf == "weight":
        w = 1.0 + 0.1 * n
    else:
        w = 0.02 * n
    return w.astype(np.float32)


def _config(raw: dict, index: dict) -> T3Config:
    encoder = EncoderConfig(
        width=raw["token_width"],
        depth=raw["sensor_blocks"],
        n_heads=raw["n_heads"],
        mlp_ratio=raw["mlp_ratio"],
        image_px=raw["image"],
        patch_px=raw["patch"],
        masking=raw.get("drop_ratio"),
    )
    trunk = TrunkConfig(raw["token_width"], raw["shared_blocks"], raw["n_heads"], raw["mlp_ratio"])
    if "recon_kind" in raw:
        names = {k.split(".")[1] for k in index if k.startswith("decoders.")}
        sensors: tuple[str, ...] = (raw["sensor"],)
        heads = {name: _reconstruction(raw) for name in names}
    else:
        sensors = tuple(raw["sensors"])
        heads = {name: _head(head, raw) for name, head in raw["heads"].items()}
    return T3Config(encoder, trunk, sensors, heads)


def _common_letters(a: str, b: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _reconstruction(raw: dict) -> HeadConfig:
    return HeadConfig(
        _HEAD_KINDS[raw["recon_kind"]],
        recon_width=raw["recon_width"],
        recon_depth=raw["recon_blocks"],
        recon_heads=raw["recon_heads"],
    )


def _head(head: dict, raw: dict) -> HeadConfig:
    hidden = raw["conv_head_hidden" if head["kind"] == "conv" else "mlp_head_hidden"]
    return HeadConfig(
        _HEAD_KINDS[head["kind"]],
        head["out"],
        pool=_POOLS[head.get("pool", "first_token")],
        hidden=tuple(hidden),
        dropout=raw["head_dropout_train_only"],
    )
