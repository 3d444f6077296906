import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sinew_sim.objects.shapes import circle
from sinew_sim.objects.standing import standing_angle_rad, upright


def _box(x: float, y: float, z: float) -> np.ndarray:
    return np.array([[i * x / 2, j * y / 2, k * z / 2] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])


def test_tilt_angle_of_a_box() -> None:
    assert standing_angle_rad(_box(0.04, 0.08, 0.1)) == pytest.approx(np.arctan2(0.02, 0.05))


def test_a_point_does_not_stand() -> None:
    cone = np.concatenate([circle(0.03, 0.05, 12), [[0.0, 0.0, -0.05]]])
    assert standing_angle_rad(cone) == 0.0


def test_steady_object_keeps_its_axis() -> None:
    assert upright(_box(0.04, 0.05, 0.1)) == pytest.approx(np.eye(3), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_turned_slab_is_laid_flat(seed: int) -> None:
    """A 5 mm slab is steady on its faces only, whichever way it came."""
    slab = _box(0.1, 0.08, 0.005) @ Rotation.random(rng=seed).as_matrix().T
    R = upright(slab)
    assert pytest.approx(np.eye(3), abs=1e-9) == R @ R.T
    assert np.linalg.det(R) == pytest.approx(1.0)
    assert np.ptp(slab @ R.T, axis=0)[2] == pytest.approx(0.005, abs=1e-6)


def test_cone_on_its_tip_is_turned_over() -> None:
    cone = np.concatenate([circle(0.03, 0.02, 12), [[0.0, 0.0, -0.06]]])
    stood = cone @ upright(cone).T
    assert standing_angle_rad(stood) > np.deg2rad(20)
