"""Trained T3 components behind one call: frames of several fingers in, what they feel out.

All fingers share one trunk pass; every head runs once over the fingers that ask for it. Heads that compare two
images keep what they need of the reference frame, so a stream costs one tower per frame.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sinew_policies.common.compute_device import choose_device
from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F64, U8
from sinew_policies.t3 import components
from sinew_policies.t3.backbone import Backbone, TorchBackbone
from sinew_policies.t3.decoders import TwoTowerHead, pool_tokens
from sinew_policies.t3.device_statistics import ChannelReport, DeviceStatistics
from sinew_policies.t3.finger import Finger
from sinew_policies.t3.network import T3
from sinew_policies.t3.pose import LabelNorm, rotation_from_columns
from sinew_policies.t3.preprocess import preprocess_batch
from sinew_policies.t3.touch import Classification, Estimate, HeadOutput, RelativePose, Touch

CLASSIFICATION_PREFIX = "cls_"  # heads of these names are classifiers, as published
POSE_PREFIX = "pose_estimation_"

_CHECKED_FRAMES = 10


@dataclass
class _Reference:
    tower: Tensor  # (1, K)
    age: int = 0


class Predictor:
    """Not thread-safe: fingers have memory (reference frames). `stage_ms` holds the last call's latencies."""

    def __init__(
        self,
        network: T3,
        fingers: Mapping[str, Finger],
        *,
        backbone: Backbone | None = None,
        device: str = "cpu",
    ) -> None:
        """`backbone`: plain torch when absent; others compute on the CPU.

        Raises ConfigError for fingers that do not fit the network.
        """
        self.device = choose_device(device)
        self.network = network.to(self.device).eval()
        self.fingers = dict(fingers)
        self.backbone = backbone or TorchBackbone(self.network, self.device)
        self.stage_ms: tuple[tuple[str, float], ...] = ()
        for name, finger in self.fingers.items():
            finger.check_fits(name, network.config)
        self._references: dict[tuple[str, str], _Reference] = {}
        self._held: set[str] = set()
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._statistics = {name: DeviceStatistics(f.preprocessing) for name, f in self.fingers.items()}

    @staticmethod
    def from_pretrained(
        folder: Path | str,
        fingers: Mapping[str, Finger],
        *,
        options: components.LoadOptions | None = None,
        backbone: Callable[[T3], Backbone] | None = None,
        device: str = "cpu",
    ) -> "Predictor":
        """Loads the components that the fingers name, no others; faults as `components.load`.

        `backbone` makes one of the loaded network, such as `lambda net: OpenVINOBackbone(net, "bf16")`.
        """
        sensors = sorted({f.sensor for f in fingers.values()})
        heads = sorted({h for f in fingers.values() for h in f.heads})
        network = components.load(folder, sensors, heads, options)
        return Predictor(network, fingers, backbone=backbone(network) if backbone else None, device=device)

    def warm_up(self) -> None:
        """Allocates and compiles with blank images; leaves no memory of them."""
        config = self.network.config.encoder
        blank = torch.zeros(1, 3, config.image_px, config.image_px)
        with torch.inference_mode():
            tokens = self.backbone.tokens(dict.fromkeys((f.sensor for f in self.fingers.values()), blank))
            for finger in self.fingers.values():
                for head in finger.heads:
                    x, decoder = tokens[finger.sensor].to(self.device), self.network.head(head)
                    decoder(x, x) if isinstance(decoder, TwoTowerHead) else decoder(x)

    def touch(self, frames: Mapping[str, U8]) -> dict[str, Touch]:
        """Newest frames (H, W, 3) uint8 of some or all fingers, in each finger's channel order.

        Raises DataError, before any memory changes, for frames of wrong form, of another size than the finger's
        first, or with swapped channels; ConfigError for an unknown finger.
        """
        if not isinstance(frames, Mapping) or not frames:
            raise DataError("no frames were given; give the newest frame of at least one finger, by its name")
        start = time.perf_counter()
        images = self._preprocessed(frames)
        ready = time.perf_counter()
        with torch.inference_mode():
            tokens = self._tokens(list(frames), images)
            after_trunk = time.perf_counter()
            pooled = {kind: pool_tokens(tokens, kind).float().cpu().numpy() for kind in ("cls", "global")}
            outputs = self._heads(list(frames), tokens)
        done = time.perf_counter()
        self.stage_ms = (
            ("preprocess", (ready - start) * 1e3),
            ("backbone", (after_trunk - ready) * 1e3),
            ("heads", (done - after_trunk) * 1e3),
        )
        return {
            finger: Touch(pooled["cls"][i], pooled["global"][i], outputs[finger]) for i, finger in enumerate(frames)
        }

    def hold_reference(self, finger: str) -> None:
        """From now on poses of the finger are relative to its last frame, until `release_reference`.

        Raises ConfigError for an unknown finger, DataError when it has seen no frame.
        """
        if self._known(finger) not in self._sizes:
            raise DataError(f"finger '{finger}' has seen no frame that could be a reference; call touch first")
        self._held.add(finger)

    def release_reference(self, finger: str) -> None:
        """Poses are relative to the previous frame again, beginning with the next but one."""
        self._held.discard(self._known(finger))

    def reset(self, finger: str) -> None:
        """Forgets all that the finger has seen, as after a reconnection."""
        self._held.discard(self._known(finger))
        self._sizes.pop(finger, None)
        self._statistics[finger] = DeviceStatistics(self.fingers[finger].preprocessing)
        for key in [k for k in self._references if k[0] == finger]:
            del self._references[key]

    def channel_report(self, finger: str) -> ChannelReport:
        """Colours of the finger's first frames. Raises DataError before the first."""
        return self._statistics[self._known(finger)].report()

    def _known(self, finger: str) -> str:
        if finger not in self.fingers:
            raise ConfigError(f"there is no finger '{finger}'; {name_hint(finger, self.fingers)}")
        return finger

    def _preprocessed(self, frames: Mapping[str, U8]) -> list[Tensor]:
        """(1, 3, S, S) each; sizes and colours are checked, and remembered when all are right."""
        images: list[Tensor] = []
        seen: dict[str, DeviceStatistics] = {}
        for name, frame in frames.items():
            finger = self.fingers[self._known(name)]
            try:
                images.append(preprocess_batch([frame], finger.preprocessing))
            except DataError as error:
                raise DataError(f"finger '{name}': {error}") from error
            expected = self._sizes.get(name, frame.shape)
            if frame.shape != expected:
                raise DataError(
                    f"a frame of finger '{name}' is {frame.shape}, its first was {expected}: the camera changed "
                    "its mode; set it back, or call reset"
                )
            if self._statistics[name].n_frames < _CHECKED_FRAMES:
                seen[name] = deepcopy(self._statistics[name])
                seen[name].add(frame)
                if finger.check_channels:
                    seen[name].refuse_swapped(name)
        self._statistics |= seen
        self._sizes |= {name: frame.shape for name, frame in frames.items()}
        return images

    def _tokens(self, fingers: Sequence[str], images: Sequence[Tensor]) -> Tensor:
        """(F, 1 + N, W) in the order of `fingers`: one batch per sensor, one backbone call."""
        rows: dict[str, list[int]] = {}
        for i, finger in enumerate(fingers):
            rows.setdefault(self.fingers[finger].sensor, []).append(i)
        batches = {sensor: torch.cat([images[i] for i in places]) for sensor, places in rows.items()}
        found = self.backbone.tokens(batches)
        if len(rows) == 1:
            return next(iter(found.values())).to(self.device)
        order = torch.tensor([i for places in rows.values() for i in places]).argsort()
        return torch.cat([found[sensor].to(self.device) for sensor in rows])[order.to(self.device)]

    def _heads(self, fingers: Sequence[str], tokens: Tensor) -> dict[str, dict[str, HeadOutput | None]]:
        outputs: dict[str, dict[str, HeadOutput | None]] = {finger: {} for finger in fingers}
        for head in dict.fromkeys(h for finger in fingers for h in self.fingers[finger].heads):
            users = [i for i, finger in enumerate(fingers) if head in self.fingers[finger].heads]
            names, x = [fingers[i] for i in users], tokens[users]
            decoder = self.network.head(head)
            if isinstance(decoder, TwoTowerHead):
                results = self._compare(head, decoder, names, decoder.tower(x))
            else:
                values = decoder(x).float()
                classifies = head.startswith(CLASSIFICATION_PREFIX)
                rows = (values.softmax(1) if classifies else values).cpu().numpy()
                results = [Classification(row) if classifies else Estimate(row) for row in rows]
            for name, result in zip(names, results, strict=True):
                outputs[name][head] = result
        return outputs

    def _compare(
        self, head: str, decoder: TwoTowerHead, fingers: Sequence[str], towers: Tensor
    ) -> list[HeadOutput | None]:
        """Outputs against the reference of each finger, and the references moved on."""
        results: list[HeadOutput | None] = [None] * len(fingers)
        known = [i for i, finger in enumerate(fingers) if (finger, head) in self._references]
        if known:
            references = [self._references[fingers[i], head] for i in known]
            values = decoder.join(torch.cat([r.tower for r in references]), towers[known]).cpu().numpy()
            for i, reference, row in zip(known, references, values, strict=True):
                reference.age += 1
                norm = self.fingers[fingers[i]].label_norms.get(head)
                results[i] = _compared(head, row.astype(np.float64), norm, reference.age)
        for i, finger in enumerate(fingers):
            if finger not in self._held or (finger, head) not in self._references:
                self._references[finger, head] = _Reference(towers[i : i + 1].clone())
        return results


def _compared(head: str, values: F64, norm: LabelNorm | None, age: int) -> HeadOutput:
    restored = values if norm is None else norm.restore(values)
    if head.startswith(POSE_PREFIX) and len(restored) == 9:
        return RelativePose(restored[:3], rotation_from_columns(restored[None, 3:])[0], age)
    if head.startswith(POSE_PREFIX) and len(restored) == 3:
        return RelativePose(restored, np.eye(3), age)
    return Estimate(restored.astype(np.float32))
