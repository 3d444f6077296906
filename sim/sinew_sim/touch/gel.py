"""From an object's pose to the picture of a camera below the gel.

Chain: relief and pose → penetration → shape of the membrane → normals → three coloured lights over a background →
exposure and noise. Sensor frame: origin at the pad's middle, x right and y down in the image, z out of the gel
towards the object; millimetres. Nothing is calibrated to one real device: the sensors differ from each other as
devices do, in lights, colours, curvature and noise.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.types import F32, F64, U8
from sinew_sim.touch.indenters import Relief

_COARSE = 2  # the membrane is computed at a half of the image's resolution
_MEMBRANE_MM = (1.0, 0.5, 0.25)  # widths of the blurs, wide to narrow
_ITERATIONS = 4


@dataclass(frozen=True)
class Light:
    azimuth_deg: float  # where it stands around the pad: 0 right, 90 below in the image
    elevation_deg: float  # above the plane of the gel, on the camera's side
    color: tuple[float, float, float]  # RGB, brightness that a facing slope gains


@dataclass(frozen=True)
class GelSensor:
    name: str
    background: tuple[float, float, float]  # RGB 0..1 at the middle
    falloff: tuple[float, float, float]  # share by which each channel changes from the left to the right edge
    vignette: float  # share by which the corners are darker
    lights: tuple[Light, ...]
    curvature_per_mm: float = 0.0  # of the pad: 1 / radius, edges recede from the object
    noise: float = 0.0025  # standard deviation per pixel and channel
    height_px: int = 240
    width_px: int = 320
    mm_per_px: float = 0.05

    @property
    def pad_mm(self) -> tuple[float, float]:
        """Width and height of the sensing area."""
        return self.width_px * self.mm_per_px, self.height_px * self.mm_per_px


@dataclass(frozen=True)
class Variation:
    """What differs from frame to frame of one device."""

    exposure: float = 0.03  # standard deviation of the gain
    tint: float = 0.01  # standard deviation of each channel's gain
    lamps: float = 0.05  # standard deviation of each light's brightness

    @staticmethod
    def none() -> "Variation":
        return Variation(0.0, 0.0, 0.0)


def sensor_of(name: str) -> GelSensor:
    """Raises ConfigError for an unknown name."""
    if name not in SENSORS:
        raise ConfigError(f"unknown gel sensor '{name}'; {name_hint(name, SENSORS)}")
    return SENSORS[name]


def render(
    sensor: GelSensor,
    relief: Relief,
    T_sensor_object: F64,
    rng: np.random.Generator,
    variation: Variation | None = None,
) -> U8:
    """One picture (H, W, 3) RGB of the object at that pose (translation in mm)."""
    return shade(sensor, membrane(sensor, penetration(sensor, relief, T_sensor_object)), rng, variation)


@lru_cache(maxsize=16)
def reference(sensor: GelSensor) -> U8:
    """The picture of the untouched gel, without noise or variation."""
    flat = np.zeros((sensor.height_px, sensor.width_px), np.float32)
    return _exposed(_lit(sensor, flat, np.ones(len(sensor.lights))))


def penetration(sensor: GelSensor, relief: Relief, T_sensor_object: F64) -> F64:
    """(H / 2, W / 2) how deep the object's surface lies below the resting gel, mm; 0 where it does not touch."""
    x, y, rest = _coarse_grid(sensor)
    R, t = T_sensor_object[:3, :3], T_sensor_object[:3, 3]
    z = np.full_like(x, t[2])
    for _ in range(_ITERATIONS):  # the point of the object's surface above each place: relief(q_x, q_y) = q_z
        q = [R[0, i] * (x - t[0]) + R[1, i] * (y - t[1]) + R[2, i] * (z - t[2]) for i in range(3)]
        z = z + (relief(q[0], q[1]) - q[2]) / R[2, 2]
    return np.maximum(rest - z, 0.0)


def membrane(sensor: GelSensor, depth_mm: F64) -> F32:
    """(H, W) displacement of the gel, mm: the object's form where it touches, sagging towards it around."""
    touching = depth_mm > 0.0
    shape = depth_mm
    if touching.any():
        for width_mm in _MEMBRANE_MM:
            blurred = gaussian_filter(shape, width_mm / (_COARSE * sensor.mm_per_px), mode="nearest", truncate=3.0)
            shape = np.where(touching, np.maximum(blurred, depth_mm), blurred)
        shape = gaussian_filter(shape, 0.7)
    return zoom(shape, _COARSE, order=1, mode="nearest", grid_mode=True).astype(np.float32)


def shade(
    sensor: GelSensor, displacement_mm: F32, rng: np.random.Generator, variation: Variation | None = None
) -> U8:
    """(H, W, 3) RGB of a displaced gel; `rng` gives noise and the frame's variation."""
    v = variation or Variation()
    lamps = np.maximum(1.0 + v.lamps * rng.normal(size=len(sensor.lights)), 0.0)
    image = _lit(sensor, displacement_mm, lamps)
    gain = (1.0 + v.exposure * rng.normal()) * (1.0 + v.tint * rng.normal(size=3))
    image = image * gain.astype(np.float32)
    return _exposed(image + _noise(sensor, rng))


def image_variance(frame: U8, rest: U8) -> float:
    """Variance of the Laplacian of gray(frame) − gray(reference), on the scale 0..255: how much is imprinted."""
    difference = _gray(frame) - _gray(rest)
    padded = np.pad(difference, 1, mode="reflect")
    laplacian = (
        padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4.0 * padded[1:-1, 1:-1]
    )
    return float(laplacian.var())


def _lit(sensor: GelSensor, displacement_mm: F32, lamps: F64) -> F32:
    """(H, W, 3) linear picture: background, plus what each light gains or loses on slopes."""
    background, directions = _scene(sensor)
    # The gel's surface is z = rest − displacement, seen from −z: its normal is (dz/dx, dz/dy, −1), normalised.
    dy, dx = np.gradient(displacement_mm, sensor.mm_per_px)
    length = np.sqrt(dx * dx + dy * dy + 1.0)
    image = background.copy()
    for light, (lx, ly, lz), lamp in zip(sensor.lights, directions, lamps, strict=True):
        # Facing part minus that of the flat gel; slopes turned away from the light get none of it.
        facing = np.maximum((lz - dx * lx - dy * ly) / length, 0.0) - lz
        image += facing[..., None] * (np.float32(lamp) * np.array(light.color, np.float32))
    shadow = 1.0 - 0.12 * np.clip(displacement_mm, 0.0, 2.0)  # deep places see less of every light
    return image * shadow[..., None]


def _noise(sensor: GelSensor, rng: np.random.Generator) -> F32:
    """(H, W, 3); neighbouring pixels share some of it, as behind a colour mosaic."""
    grains = rng.standard_normal((sensor.height_px + 1, sensor.width_px + 1, 3), dtype=np.float32)
    rows = grains[1:] + grains[:-1]
    return np.asarray((0.5 * sensor.noise) * (rows[:, 1:] + rows[:, :-1]), np.float32)


def _exposed(image: F32) -> U8:
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _gray(image: U8) -> F64:
    return image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


@lru_cache(maxsize=16)
def _coarse_grid(sensor: GelSensor) -> tuple[F64, F64, F64]:
    """x, y and the resting gel's z at the coarse resolution, mm."""
    step = _COARSE * sensor.mm_per_px
    columns, rows = sensor.width_px // _COARSE, sensor.height_px // _COARSE
    x = (np.arange(columns) - (columns - 1) / 2.0) * step
    y = (np.arange(rows) - (rows - 1) / 2.0) * step
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x, grid_y, -0.5 * sensor.curvature_per_mm * (grid_x**2 + grid_y**2)


@lru_cache(maxsize=16)
def _scene(sensor: GelSensor) -> tuple[F32, list[tuple[F32, F32, float]]]:
    """Background (H, W, 3), and per light its direction's x (1, W), y (H, 1) and z."""
    u = np.linspace(-1.0, 1.0, sensor.width_px, dtype=np.float32)[None, :, None]
    v = np.linspace(-1.0, 1.0, sensor.height_px, dtype=np.float32)[:, None, None]
    tilt = 1.0 + 0.5 * np.array(sensor.falloff, np.float32) * u
    background = np.array(sensor.background, np.float32) * tilt * (1.0 - 0.5 * sensor.vignette * (u * u + v * v))
    directions = []
    for light in sensor.lights:
        a, e = np.radians(light.azimuth_deg), np.radians(light.elevation_deg)
        # Lights are near: seen from the far side of the pad they stand lower and more in line.
        x = np.cos(a) * np.cos(e) - 0.25 * u[..., 0]  # (1, W)
        y = np.sin(a) * np.cos(e) - 0.25 * v[..., 0]  # (H, 1)
        directions.append((x.astype(np.float32), y.astype(np.float32), float(np.sin(e))))
    return background.astype(np.float32), directions


SENSORS: dict[str, GelSensor] = {
    "mini": GelSensor(
        "mini",
        background=(0.19, 0.46, 0.40),
        falloff=(0.15, -0.10, 0.05),
        vignette=0.10,
        lights=(
            Light(0.0, 25.0, (0.75, 0.05, 0.05)),
            Light(120.0, 25.0, (0.05, 0.70, 0.08)),
            Light(240.0, 25.0, (0.05, 0.08, 0.75)),
        ),
    ),
    "wedge": GelSensor(
        "wedge",
        background=(0.41, 0.47, 0.61),
        falloff=(0.35, 0.05, -0.35),
        vignette=0.05,
        lights=(
            Light(0.0, 15.0, (0.65, 0.05, 0.02)),
            Light(180.0, 15.0, (0.02, 0.05, 0.70)),
            Light(270.0, 40.0, (0.10, 0.50, 0.15)),
        ),
        noise=0.004,
    ),
    "digit": GelSensor(
        "digit",
        background=(0.39, 0.43, 0.41),
        falloff=(-0.10, 0.10, 0.0),
        vignette=0.30,
        lights=(
            Light(90.0, 35.0, (0.60, 0.10, 0.10)),
            Light(210.0, 35.0, (0.10, 0.60, 0.10)),
            Light(330.0, 35.0, (0.10, 0.10, 0.60)),
        ),
        curvature_per_mm=1.0 / 90.0,
        noise=0.005,
    ),
}
