import time
from dataclasses import replace

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import CameraModel
from sinew_sim.camera.noise import NOISE_PRESETS, DepthNoise, apply_noise, noise_preset

CAMERA = CameraModel(640, 480, 579.4, 579.4, 319.5, 239.5)


def wall(z_m: float) -> np.ndarray:
    return np.full((480, 640), z_m, np.float32)


def step() -> np.ndarray:
    depth = wall(1.0)
    depth[120:360, 160:480] = 0.7
    return depth


@pytest.mark.parametrize("preset", ["kinect", "stereo"])
@pytest.mark.parametrize("z_m", [0.5, 0.9, 1.6])
def test_sigma_matches_the_formula(preset, z_m):
    noise = replace(NOISE_PRESETS[preset], blobs=0.0)
    rng = stream(1, preset)
    errors = np.concatenate([(apply_noise(wall(z_m), CAMERA, noise, rng) - z_m).ravel() for _ in range(6)])
    assert errors.std() == pytest.approx(float(noise.sigma_m(z_m, CAMERA.fx)), rel=0.1)
    assert abs(errors.mean()) < 0.2 * errors.std()


def test_published_values_of_the_sigmas():
    """Nguyen 2012: 0.0012 + 0.0019 (z - 0.4)² m; the stereo law z² s / (f b)."""
    kinect = replace(NOISE_PRESETS["kinect"], field_sigma_m=0.0)
    assert kinect.sigma_m(1.4, 500.0) == pytest.approx(0.0031)
    stereo = DepthNoise(baseline_m=0.05, disparity_sigma_px=0.08)
    assert stereo.sigma_m(1.0, 430.0) == pytest.approx(0.00372, rel=1e-3)


def test_disparity_is_quantised():
    noise = DepthNoise(baseline_m=0.055, disparity_step_px=0.125)
    ramp = np.linspace(0.5, 1.5, 640 * 480, dtype=np.float32).reshape(480, 640)
    out = apply_noise(ramp, CAMERA, noise, stream(0))
    steps = CAMERA.fx * 0.055 / out / 0.125
    assert np.abs(steps - np.rint(steps)).max() < 1e-2
    assert len(np.unique(out)) < 400


def test_same_stream_same_image_and_other_stream_another():
    noise = NOISE_PRESETS["stereo"]
    images = [apply_noise(step(), CAMERA, noise, stream(s, "depth")) for s in (3, 3, 4)]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_none_changes_nothing():
    depth = step()
    depth[0, 0] = np.nan
    out = apply_noise(depth, CAMERA, NOISE_PRESETS["none"], stream(0))
    assert out[0, 0] == 0.0
    assert np.array_equal(out.ravel()[1:], depth.ravel()[1:])


def test_holes_open_at_grazing_angles():
    """A plane seen at incidence with cos 0.15 vanishes at threshold 0.2; at cos 0.5 it stays."""
    for cosine, kept in ((0.15, False), (0.5, True)):
        v = (np.arange(480) - CAMERA.cy) / CAMERA.fy
        # Plane through (0, 0, 1) whose normal makes that angle with the optical axis.
        tangent = np.sqrt(1 - cosine**2) / cosine
        column = 1.0 / np.clip(1.0 - tangent * v, 0.2, None)
        depth = np.repeat(column[:, None], 640, axis=1).astype(np.float32)
        noise = DepthNoise(grazing_cos=0.2, edge_jump_m=10.0)
        centre = apply_noise(depth, CAMERA, noise, stream(0))[235:245, 310:330]
        assert (centre > 0).all() == kept


def test_edges_lose_pixels_and_some_fly():
    noise = DepthNoise(edge_drop=0.3, flying=0.2)
    out = apply_noise(step(), CAMERA, noise, stream(0))
    band = np.zeros((480, 640), bool)
    band[118:362, 158:482] = True
    band[122:358, 162:478] = False
    assert (out[~band] == step()[~band]).all()
    assert (out[band] == 0).mean() == pytest.approx(0.3, abs=0.05)
    assert ((out[band] > 0.705) & (out[band] < 0.995)).mean() == pytest.approx(0.2, abs=0.05)


def test_range_limits():
    depth = wall(0.15)
    depth[:, 320:] = 5.0
    assert (apply_noise(depth, CAMERA, DepthNoise(min_m=0.2, max_m=4.0), stream(0)) == 0).all()


def test_blobs_are_seeded_holes():
    out = apply_noise(wall(1.0), CAMERA, DepthNoise(blobs=20.0, blob_radius_px=5.0), stream(0))
    assert 0.001 < (out == 0).mean() < 0.02


def test_bad_parameters_say_what_to_do():
    with pytest.raises(ConfigError, match="baseline_m > 0"):
        DepthNoise(disparity_sigma_px=0.1)
    with pytest.raises(ConfigError, match="min < max"):
        DepthNoise(min_m=2.0, max_m=1.0)
    with pytest.raises(ConfigError, match="valid names: kinect, none, stereo"):
        noise_preset("d435")
    with pytest.raises(DataError, match="intrinsics of the same image"):
        apply_noise(wall(1.0)[:100], CAMERA, DepthNoise(), stream(0))


def test_full_image_is_fast():
    rng = stream(0)
    noise = NOISE_PRESETS["stereo"]
    apply_noise(step(), CAMERA, noise, rng)
    times = []
    for _ in range(5):
        start = time.thread_time()
        apply_noise(step(), CAMERA, noise, rng)
        times.append(time.thread_time() - start)
    assert min(times) < 0.015
