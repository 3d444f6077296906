"""Exposures: points on the true surfaces, inside the crop, with noise of the promised size."""

import mujoco
import numpy as np
import pytest

from sinew_sim.camera.noise import noise_preset
from sinew_sim.floating.scene import build_scene
from sinew_sim.floating.view import (
    CROP_HIGH,
    CROP_LOW,
    NOMINAL_VIEW,
    CalibrationError,
    SceneCamera,
    ViewRange,
    disturb,
    draw_view,
    true_hits,
)

EXACT = CalibrationError(0.0, 0.0)


@pytest.fixture(scope="module")
def exposed(make_box):
    box = make_box()
    scene = build_scene([box], np.array([[0.5, 0.0, box.standing_height_m, 1.0, 0.0, 0.0, 0.0]]))
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    rng = np.random.default_rng(0)
    with SceneCamera(scene) as camera:
        clean = camera.expose(data, NOMINAL_VIEW, noise_preset("none"), EXACT, rng)
        noisy = camera.expose(data, NOMINAL_VIEW, noise_preset("stereo"), EXACT, rng)
    return scene, data, clean, noisy


def test_noise_free_points_lie_where_the_rays_hit(exposed) -> None:
    scene, data, clean, _ = exposed
    chosen = np.arange(0, len(clean.xyz), 7)
    hits = true_hits(scene, data, clean, chosen)
    off = np.linalg.norm(clean.xyz[chosen] - hits.point, axis=1)
    assert np.percentile(off, 99) < 5e-4
    assert (clean.xyz >= CROP_LOW - 1e-5).all()
    assert (clean.xyz <= CROP_HIGH + 1e-5).all()


def test_hits_name_the_object_and_its_outward_normal(exposed) -> None:
    scene, data, clean, _ = exposed
    hits = true_hits(scene, data, clean, np.arange(0, len(clean.xyz), 5))
    on_box = hits.object == 0
    assert on_box.sum() > 200
    assert (hits.point[on_box, 2] > -1e-6).all()
    assert hits.point[~on_box, 2] == pytest.approx(0.0, abs=1e-5)
    assert hits.normal[~on_box, 2] == pytest.approx(1.0, abs=1e-6)
    view = NOMINAL_VIEW[:3, 3] - hits.point
    assert (np.einsum("ij,ij->i", hits.normal, view) > 0.0).all()
    # A box standing upright: every normal is an axis, away from the centre.
    normal = hits.normal[on_box]
    assert np.abs(normal).max(axis=1) == pytest.approx(1.0, abs=1e-6)


def test_stereo_noise_is_millimetres(exposed) -> None:
    scene, data, _, noisy = exposed
    chosen = np.arange(0, len(noisy.xyz), 7)
    hits = true_hits(scene, data, noisy, chosen)
    off = np.linalg.norm(noisy.xyz[chosen] - hits.point, axis=1)
    assert 0.0005 < np.median(off) < 0.005


def test_views_look_at_the_workspace_from_their_range() -> None:
    views = ViewRange()
    rng = np.random.default_rng(1)
    for _ in range(50):
        T = draw_view(views, rng)
        assert np.allclose(T[:3, :3].T @ T[:3, :3], np.eye(3), atol=1e-9)
        assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
        toward = np.array([0.5, 0.0, 0.05]) - T[:3, 3]
        assert T[:3, 2] @ toward / np.linalg.norm(toward) > 0.98
        assert 0.6 < np.linalg.norm(toward) < 1.2
        assert T[2, 1] < 0.0  # image y points down: up is up


def test_calibration_error_has_the_asked_size() -> None:
    rng = np.random.default_rng(2)
    error = CalibrationError(0.004, 0.01)
    moved = np.array([disturb(np.eye(4), error, rng) for _ in range(500)])
    shift = np.sqrt((moved[:, :3, 3] ** 2).sum(axis=1).mean())
    angle = np.arccos(np.clip((np.trace(moved[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert shift == pytest.approx(0.004, rel=0.15)
    assert np.sqrt((angle**2).mean()) == pytest.approx(0.01, rel=0.15)
