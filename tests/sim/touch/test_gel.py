from dataclasses import replace

import numpy as np
import pytest

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.geometry import rot_x, rot_z
from sinew_sim.touch.gel import (
    SENSORS,
    Variation,
    image_variance,
    membrane,
    penetration,
    reference,
    render,
    sensor_of,
    shade,
)
from sinew_sim.touch.indenters import INDENTERS, PROBES, RELIEF_CAP_MM, relief_of

MINI = SENSORS["mini"]
SILENT = {name: replace(sensor, noise=0.0) for name, sensor in SENSORS.items()}


def at(x: float = 0.0, y: float = 0.0, z: float = -0.6, yaw_deg: float = 0.0, tilt_deg: float = 0.0) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = rot_x(np.radians(tilt_deg)) @ rot_z(np.radians(yaw_deg))
    T[:3, 3] = x, y, z
    return T


def test_a_ball_sinks_in_by_its_closed_form() -> None:
    depth = penetration(MINI, relief_of("dome"), at(z=-0.6))
    radius_mm, step = 4.0, 2 * MINI.mm_per_px
    rows, columns = depth.shape
    x = (np.arange(columns) - (columns - 1) / 2) * step
    y = (np.arange(rows) - (rows - 1) / 2) * step
    expected = np.maximum(0.6 - (x[None] ** 2 + y[:, None] ** 2) / (2 * radius_mm), 0.0)
    np.testing.assert_allclose(depth, expected, atol=1e-9)


def test_a_tilted_plane_sinks_in_along_its_slope() -> None:
    def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.zeros_like(x)

    depth = penetration(MINI, plane, at(z=-0.5, tilt_deg=3.0))
    slope = np.diff(depth[:, 80]) / (2 * MINI.mm_per_px)
    inside = depth[1:, 80] > 1e-9
    # rot_x lifts the side of larger y (below in the image): z = y tan(tilt) − 0.5
    np.testing.assert_allclose(slope[inside[: len(slope)]], -np.tan(np.radians(3.0)), rtol=1e-6)
    assert depth.max() > 0.5


def test_the_membrane_follows_the_object_and_sags_around_it() -> None:
    depth = penetration(MINI, relief_of("square"), at())
    gel = membrane(MINI, depth)
    assert gel.shape == (240, 320)
    assert gel[120, 160] == pytest.approx(0.6, abs=0.02)  # below the flat of the object
    assert 0.0 < gel[120, 160 + 60] < 0.3  # 3 mm aside, 1 mm off its edge
    assert gel[5, 5] < 0.01


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_no_contact_is_the_reference(name: str) -> None:
    sensor = SILENT[name]
    image = render(sensor, relief_of("dome"), at(z=2.0), np.random.default_rng(0), Variation.none())
    np.testing.assert_array_equal(image, reference(sensor))


@pytest.mark.parametrize("name", sorted(INDENTERS))
def test_every_indenter_leaves_a_mark_on_every_sensor(name: str) -> None:
    relief = relief_of(name)
    assert 0.0 <= relief(np.zeros(1), np.zeros(1))[0] <= RELIEF_CAP_MM
    for sensor in SILENT.values():
        image = render(sensor, relief, at(), np.random.default_rng(0), Variation.none())
        changed = np.abs(image.astype(int) - reference(sensor)).max(2) > 12
        assert 0.005 < changed.mean() < 0.5


def test_a_shift_of_the_object_shifts_the_gel() -> None:
    a = membrane(MINI, penetration(MINI, relief_of("key"), at()))
    b = membrane(MINI, penetration(MINI, relief_of("key"), at(x=1.0, y=-0.5)))
    np.testing.assert_allclose(np.roll(a, (-10, 20), (0, 1))[40:200, 60:260], b[40:200, 60:260], atol=1e-4)


def test_a_half_turn_of_the_object_turns_the_gel() -> None:
    a = membrane(MINI, penetration(MINI, relief_of("key"), at()))
    b = membrane(MINI, penetration(MINI, relief_of("key"), at(yaw_deg=180.0)))
    np.testing.assert_allclose(a[::-1, ::-1], b, atol=1e-4)


def test_a_light_brightens_the_slopes_that_face_it() -> None:
    sensor = SILENT["mini"]  # red stands on the right
    image = render(sensor, relief_of("dome"), at(), np.random.default_rng(0), Variation.none()).astype(int)
    gain = image[..., 0] - reference(sensor)[..., 0].astype(int)
    left, right = gain[120, 120:150].sum(), gain[120, 170:200].sum()
    assert right > 100 > -100 > left


def test_a_curved_pad_is_touched_first_in_the_middle() -> None:
    def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.zeros_like(x)

    depth = penetration(SENSORS["digit"], plane, at(z=-0.2))
    assert depth[60, 80] == pytest.approx(0.2, abs=0.001)
    assert depth[0, 0] == 0.0


def test_deeper_presses_imprint_more() -> None:
    values = [
        image_variance(
            render(SILENT["mini"], relief_of("ring"), at(z=-d), np.random.default_rng(0), Variation.none()),
            reference(MINI),
        )
        for d in (-1.0, 0.1, 0.5, 1.0)
    ]
    assert values[0] == 0.0
    assert values == sorted(values)


def test_the_same_generator_gives_the_same_picture_and_another_one_does_not() -> None:
    gel = membrane(MINI, penetration(MINI, relief_of("ring"), at()))
    a, b, c = (shade(MINI, gel, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.3


def test_noise_has_the_stated_size() -> None:
    flat = np.zeros((MINI.height_px, MINI.width_px), np.float32)
    image = shade(replace(MINI, noise=0.02), flat, np.random.default_rng(0), Variation.none())
    difference = image.astype(float) - reference(MINI)
    assert difference.std() / 255 == pytest.approx(0.02, rel=0.05)


def test_sensors_look_different() -> None:
    means = [reference(s).reshape(-1, 3).mean(0) for s in SENSORS.values()]
    for i in range(len(means)):
        for j in range(i):
            assert np.abs(means[i] - means[j]).max() > 20


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown gel sensor 'minni'; did you mean 'mini'\?"):
        sensor_of("minni")
    with pytest.raises(ConfigError, match=r"unknown indenter 'rng'; did you mean 'ring'\?"):
        relief_of("rng")
    assert set(PROBES) <= set(INDENTERS)
