"""Encoder and trunk through OpenVINO on the CPU (extra `quant`): float32, bfloat16, or int8 after calibration.

One compiled model per sensor, any batch. With int8 only matrix products are integers, the rest is float; how near
the outcome is to float32 depends on the weights and on the calibration images, so measure it with `agreement`.
"""

import hashlib
import importlib
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sinew_policies.common.errors import CheckpointError, ConfigError, MissingExtra, name_hint
from sinew_policies.t3.backbone import Backbone
from sinew_policies.t3.network import T3

_RECIPE = 2  # raised when the conversion below changes, so that no older result is taken from a cache

PRECISIONS = ("f32", "bf16", "int8")
EXTRA = "quant"

_LEAST_IMAGES = 8
_SMOOTHING = 0.5  # share of the activations' spread that moves into weights; see docs/t3.md


@dataclass(frozen=True)
class Agreement:
    """Of tokens with those of plain torch."""

    cosine: float  # lowest over images, all tokens of an image as one vector
    centred_cosine: float  # the same after the mean over the images is taken out of both; NaN for one image
    max_error: float
    scale: float  # root mean square of the reference tokens


class OpenVINOBackbone:
    """Raises MissingExtra without openvino (for int8 also nncf), ConfigError for what it cannot do.

    `calibration`: preprocessed images (K, 3, H, W) of each sensor, needed for int8; frames as the sensor will
    give, pressed and not, at least 8. `threads`: 1 suits a machine that does other work. `cache`: folder where
    converted models are kept by the hash of all that made them; quantising takes tens of seconds.
    """

    def __init__(
        self,
        network: T3,
        precision: str,
        *,
        sensors: Sequence[str] | None = None,
        calibration: Mapping[str, Tensor] | None = None,
        threads: int = 1,
        cache: Path | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ConfigError(f"unknown precision '{precision}'; {name_hint(precision, PRECISIONS)}")
        self.name = f"openvino-{precision}"
        self._compiled: dict[str, Any] = {}
        openvino = _require("openvino")
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": _float_type(core, precision),
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        for sensor in network.config.sensors if sensors is None else sensors:
            images = _calibration_images(sensor, calibration or {}) if precision == "int8" else None

            def make(sensor: str = sensor, images: Tensor | None = images) -> Any:
                model = _converted(openvino, network, sensor)
                return model if images is None else _quantised(model, images)

            if cache is None:
                model = make()
            else:
                file = cache / f"{sensor}-{precision}-{_fingerprint(openvino, network, sensor, images)}.xml"
                model = _cached(openvino, core, file, make)
            self._compiled[sensor] = core.compile_model(model, "CPU", settings)

    def tokens(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raises ConfigError for a sensor that was not compiled."""
        found: dict[str, Tensor] = {}
        for sensor, batch in images.items():
            if sensor not in self._compiled:
                raise ConfigError(f"sensor '{sensor}' was not compiled; {name_hint(sensor, self._compiled)}")
            outputs = self._compiled[sensor](batch.contiguous().numpy())
            found[sensor] = torch.from_numpy(np.array(outputs[0], np.float32))  # its buffer is used again
        return found


@torch.inference_mode()
def agreement(network: T3, backbone: Backbone, sensor: str, images: Tensor) -> Agreement:
    """Of `backbone` with the network on preprocessed images (B, 3, H, W)."""
    want = network.tokens(sensor, images).flatten(1).double()
    got = backbone.tokens({sensor: images})[sensor].flatten(1).double()
    mean = want.mean(0)
    return Agreement(
        _lowest_cosine(got, want),
        _lowest_cosine(got - mean, want - mean) if len(images) > 1 else math.nan,
        float((got - want).abs().max()),
        float(want.square().mean().sqrt()),
    )


def _lowest_cosine(a: Tensor, b: Tensor) -> float:
    return float(nn.functional.cosine_similarity(a, b, dim=1).min())


class _TokensOfSensor(nn.Module):
    def __init__(self, network: T3, sensor: str) -> None:
        super().__init__()
        self.encoder = network.encoder(sensor)
        self.trunk = network.trunk

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk(self.encoder(images))


def _converted(openvino: ModuleType, network: T3, sensor: str) -> Any:
    side = network.config.encoder.image_px
    example = torch.zeros(2, 3, side, side)  # not 1: sizes of 1 are taken for constants
    model = _TokensOfSensor(network, sensor).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing notes the check of the input's shape
        return openvino.convert_model(model, example_input=example, input=[(-1, 3, side, side)])


def _calibration_images(sensor: str, given: Mapping[str, Tensor]) -> Tensor:
    n_images = len(given[sensor]) if sensor in given else 0
    if n_images < _LEAST_IMAGES:
        raise ConfigError(
            f"int8 needs calibration images of sensor '{sensor}': {n_images} given, expected at least "
            f"{_LEAST_IMAGES} preprocessed frames of that sensor"
        )
    return given[sensor]


def _quantised(model: Any, images: Tensor) -> Any:
    nncf = _require("nncf")
    dataset = nncf.Dataset([image[None].numpy() for image in images])
    advanced = nncf.AdvancedQuantizationParameters(
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=_SMOOTHING, convolution=-1)
    )
    return nncf.quantize(
        model,
        dataset,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(types=["Convolution"]),  # the patches: 3 % of the work, most of the error
        advanced_parameters=advanced,
    )


def _cached(openvino: ModuleType, core: Any, file: Path, make: Callable[[], Any]) -> Any:
    """The model in `file` (.xml) and its weights (.bin), made and written when it is not there."""
    weights = file.with_suffix(".bin")
    if not (file.is_file() and weights.is_file()):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{os.getpid()}-{file.name}")
        try:
            openvino.save_model(make(), partial, compress_to_fp16=False)
            partial.with_suffix(".bin").replace(weights)  # the description comes last
            partial.replace(file)
        finally:
            for left in (partial, partial.with_suffix(".bin")):
                left.unlink(missing_ok=True)
    try:
        return core.read_model(file, weights)
    except RuntimeError as error:
        raise CheckpointError(f"{file} is not a readable OpenVINO model ({error}); delete it") from error


def _fingerprint(openvino: ModuleType, network: T3, sensor: str, images: Tensor | None) -> str:
    digest = hashlib.sha256(
        f"{_RECIPE} {openvino.__version__} {network.config.encoder} {network.config.trunk}".encode()
    )
    for part in (network.encoder(sensor), network.trunk):
        for name, tensor in part.state_dict().items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    if images is not None:
        digest.update(images.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _float_type(core: Any, precision: str) -> str:
    """Type of what is not int8: bf16 beside int8 where the processor has it, for it costs no more accuracy.

    Raises ConfigError when the processor lacks the precision.
    """
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    needed = {"f32": "FP32", "bf16": "BF16", "int8": "INT8"}[precision]
    if needed not in capabilities:
        raise ConfigError(
            f"this processor does not compute in {precision} (it offers {', '.join(capabilities)}); use "
            "another precision, or plain torch"
        )
    return "bf16" if precision != "f32" and "BF16" in capabilities else "f32"


def _require(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise
        raise MissingExtra(package, EXTRA) from error
