"""Memory of grasps that failed: what not to try again, and which places to leave for later."""

from dataclasses import dataclass

import numpy as np

from sinew_policies.common.geometry import rotation_angle
from sinew_policies.common.types import F64, Grasp


@dataclass(frozen=True)
class FailedGraspsConfig:
    same_grasp_m: float = 0.015  # a failed grasp forbids its neighbours …
    same_grasp_rad: float = 0.45  # … within this distance and angle
    same_place_m: float = 0.04  # failures within this distance let other places go first
    forget_after: int = 3  # attempts after which a failed grasp may be tried again


class FailedGrasps:
    def __init__(self, config: FailedGraspsConfig) -> None:
        self._config = config
        self._failed: list[tuple[int, Grasp]] = []  # (attempt, grasp)

    def add(self, grasp: Grasp, attempt: int) -> None:
        self._failed.append((attempt, grasp))

    def forbid(self, grasp: Grasp, attempt: int) -> bool:
        """Whether one much like it failed in the last attempts before number `attempt`."""
        recent = (g for when, g in self._failed if attempt - when <= self._config.forget_after)
        return any(self._alike(grasp, failed) for failed in recent)

    def near(self, grasp: Grasp) -> int:
        """Failures of the whole run whose contact was at the same place, most likely on the same object."""
        return sum(_distance_m(grasp, failed) < self._config.same_place_m for _, failed in self._failed)

    def _alike(self, a: Grasp, b: Grasp) -> bool:
        return (
            _distance_m(a, b) < self._config.same_grasp_m
            and _angle_rad(a.T_base_grasp, b.T_base_grasp) < self._config.same_grasp_rad
        )


def _distance_m(a: Grasp, b: Grasp) -> float:
    return float(np.linalg.norm(a.contact - b.contact))


def _angle_rad(T_a: F64, T_b: F64) -> float:
    """Blind to the 180° roll that swaps the fingers."""
    R = T_a[:3, :3].T @ T_b[:3, :3]
    flip = np.diag([-1.0, -1.0, 1.0])
    return min(rotation_angle(R), rotation_angle(flip @ R))
