"""What one frame of a finger tells, by head."""

from collections.abc import Mapping
from dataclasses import dataclass

from sinew_policies.common.types import F32, F64


@dataclass(frozen=True)
class Classification:
    probabilities: F32  # (classes,)

    @property
    def label(self) -> int:
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class Estimate:
    values: F32  # (n_out,) as the head was trained


@dataclass(frozen=True)
class RelativePose:
    """Motion of the object from the reference frame to this one, seen from its pose in the reference frame."""

    translation_mm: F64  # (3,)
    rotation: F64  # (3, 3); identity from heads of three numbers, which tell no rotation
    reference_age: int  # frames since the reference, at least 1


HeadOutput = Classification | Estimate | RelativePose


@dataclass(frozen=True)
class Touch:
    embedding: F32  # (W,) first token after the trunk
    mean_embedding: F32  # (W,) mean of the patch tokens
    outputs: Mapping[str, HeadOutput | None]  # None: a head of two images that has seen only one
