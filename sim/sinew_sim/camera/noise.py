"""Depth noise of real sensors, seeded: the same generator state gives the same image.

Order of the chain: lateral jitter and flying pixels (which surface a pixel sees), axial and disparity noise
with quantisation (how far it says it is), a smooth error field (calibration), then holes (grazing angles,
depth edges, blobs, range). Formulas: Nguyen 2012 for the structured-light axial sigma; disparity
d = f b / z with Gaussian noise and a fixed step for stereo.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy.special import ndtri

from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F32, F64, CameraModel

_UNIFORM_BITS = 16
# Quantiles of the normal distribution; a 16-bit piece of a hash picks one. The scale restores unit variance.
_quantiles = ndtri((np.arange(1 << _UNIFORM_BITS) + 0.5) / (1 << _UNIFORM_BITS))
_NORMAL: F32 = (_quantiles / _quantiles.std()).astype(np.float32)


@dataclass(frozen=True)
class DepthNoise:
    """Parameters of the chain; a zero switches its stage off. Metres and pixels."""

    axial_sigma_m: float = 0.0  # constant part of the axial sigma
    axial_quadratic: float = 0.0  # sigma += axial_quadratic * (z - axial_z0_m)², 1/m
    axial_z0_m: float = 0.0
    baseline_m: float = 0.0  # stereo baseline; needed by the two disparity stages
    disparity_sigma_px: float = 0.0
    disparity_step_px: float = 0.0  # subpixel quantisation, e.g. 1/8
    lateral_sigma_px: float = 0.0  # which neighbour a pixel looks at
    field_sigma_m: float = 0.0  # smooth error field
    field_cell_px: int = 16  # its correlation length
    grazing_cos: float = 0.0  # no return where cos(view, normal) is below
    edge_jump_m: float = 0.03  # a depth step larger than this is an edge
    edge_width_px: int = 2
    edge_drop: float = 0.0  # probability of a hole within edge_width_px of an edge
    flying: float = 0.0  # probability of a pixel at an edge lying between the two surfaces
    blobs: float = 0.0  # mean number of round holes per image
    blob_radius_px: float = 4.0
    min_m: float = 0.0
    max_m: float = 100.0

    def __post_init__(self) -> None:
        if (self.disparity_sigma_px > 0 or self.disparity_step_px > 0) and self.baseline_m <= 0:
            raise ConfigError(f"depth noise: disparity noise needs baseline_m > 0, got {self.baseline_m}")
        if not 0 <= self.min_m < self.max_m:
            raise ConfigError(f"depth noise: range {self.min_m}..{self.max_m} m is empty; need 0 <= min < max")
        if self.field_cell_px < 2:
            raise ConfigError(f"depth noise: field_cell_px is {self.field_cell_px}; expected at least 2")

    def sigma_m(self, z_m: F64, fx: float) -> F64:
        """Standard deviation of a fronto-parallel surface's depth error at z_m, before holes and edges."""
        z = np.asarray(z_m, np.float64)
        axial = self.axial_sigma_m + self.axial_quadratic * (z - self.axial_z0_m) ** 2
        variance = axial**2 + self.field_sigma_m**2
        if self.baseline_m > 0:
            disparity = self.disparity_sigma_px**2 + self.disparity_step_px**2 / 12.0
            variance = variance + (z**2 / (fx * self.baseline_m)) ** 2 * disparity
        return np.sqrt(variance)


NOISE_PRESETS: dict[str, DepthNoise] = {
    "none": DepthNoise(),
    "kinect": DepthNoise(
        axial_sigma_m=0.0012,
        axial_quadratic=0.0019,
        axial_z0_m=0.4,
        lateral_sigma_px=0.8,
        field_sigma_m=0.001,
        grazing_cos=0.2,
        edge_drop=0.3,
        flying=0.1,
        blobs=2.0,
        min_m=0.2,
        max_m=4.0,
    ),
    "stereo": DepthNoise(
        baseline_m=0.055,
        disparity_sigma_px=0.06,
        disparity_step_px=0.125,
        lateral_sigma_px=0.5,
        field_sigma_m=0.001,
        grazing_cos=0.2,
        edge_drop=0.3,
        flying=0.1,
        blobs=2.0,
        min_m=0.1,
        max_m=4.0,
    ),
}


def noise_preset(name: str) -> DepthNoise:
    """A preset by name: none, kinect or stereo."""
    if name not in NOISE_PRESETS:
        raise ConfigError(f"depth noise '{name}' is unknown; {name_hint(name, NOISE_PRESETS)}")
    return NOISE_PRESETS[name]


def apply_noise(depth_m: F32, camera: CameraModel, noise: DepthNoise, rng: np.random.Generator) -> F32:
    """Noisy copy of a depth image (H, W), 0 = no return; NaN and non-positive input count as no return."""
    if depth_m.shape != (camera.height, camera.width):
        raise DataError(
            f"depth image is {depth_m.shape}, but the camera says ({camera.height}, {camera.width}); "
            "pass the intrinsics of the same image"
        )
    seed = rng.integers(0, 1 << 63, dtype=np.uint64)
    cell = noise.field_cell_px
    rows, cols = camera.height // cell + 2, camera.width // cell + 2
    field = rng.standard_normal((rows, cols), dtype=np.float32) * np.float32(noise.field_sigma_m)
    out = np.empty((camera.height, camera.width), np.float32)
    lateral = np.float32(noise.lateral_sigma_px)
    edges = noise.edge_drop > 0 or noise.flying > 0 or noise.grazing_cos > 0
    _chain(
        np.ascontiguousarray(depth_m, np.float32),
        out,
        seed,
        _NORMAL,
        (np.float32(noise.axial_sigma_m), np.float32(noise.axial_quadratic), np.float32(noise.axial_z0_m)),
        (
            np.float32(camera.fx * noise.baseline_m),
            np.float32(noise.disparity_sigma_px),
            np.float32(noise.disparity_step_px),
        ),
        lateral,
        field,
        cell,
        noise.field_sigma_m > 0,
        (np.float32(noise.grazing_cos), np.float32(camera.fx), np.float32(camera.cx), np.float32(camera.cy)),
        (
            edges,
            np.float32(noise.edge_jump_m),
            max(1, noise.edge_width_px),
            np.float32(noise.edge_drop),
            np.float32(noise.flying),
        ),
        (np.float32(noise.min_m), np.float32(noise.max_m)),
    )
    _punch_blobs(out, noise, rng)
    return out


def _punch_blobs(depth_m: F32, noise: DepthNoise, rng: np.random.Generator) -> None:
    if noise.blobs <= 0:
        return
    height, width = depth_m.shape
    for _ in range(rng.poisson(noise.blobs)):
        r = max(1.0, noise.blob_radius_px * rng.uniform(0.3, 1.7))
        v0, u0 = rng.uniform(0, height), rng.uniform(0, width)
        lo_v, hi_v = max(0, int(v0 - r)), min(height, int(v0 + r) + 2)
        lo_u, hi_u = max(0, int(u0 - r)), min(width, int(u0 + r) + 2)
        v = np.arange(lo_v, hi_v)[:, None] - v0
        u = np.arange(lo_u, hi_u)[None, :] - u0
        depth_m[lo_v:hi_v, lo_u:hi_u][v * v + u * u < r * r] = 0.0


@numba.njit(cache=True, fastmath={"contract", "arcp", "reassoc"}, inline="always")
def _hash(x):  # type: ignore[no-untyped-def]
    """splitmix64's finaliser: one well-mixed 64-bit word per counter value."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True, fastmath={"contract", "arcp", "reassoc"})
def _chain(  # type: ignore[no-untyped-def]
    depth, out, seed, normal, axial, disparity, lateral, field, cell, use_field, grazing, edge, limits
):
    height, width = depth.shape
    mask = np.uint64(0xFFFF)
    golden = np.uint64(0x9E3779B97F4A7C15)
    sigma0, quadratic, z0 = axial
    fb, d_sigma, d_step = disparity
    min_cos, f, cx, cy = grazing
    use_edges, jump, reach, p_drop, p_flying = edge
    near, far = limits
    to_unit = np.float32(1.0 / 65536.0)
    inv_cell = np.float32(1.0 / cell)
    zero = np.float32(0.0)
    one = np.float32(1.0)
    for v in range(height):
        for u in range(width):
            z = depth[v, u]
            if not z > zero:
                out[v, u] = zero
                continue
            word = _hash(seed + golden * np.uint64(v * width + u + 1))
            n0 = normal[word & mask]
            n1 = normal[(word >> np.uint64(16)) & mask]
            draw = np.float32((word >> np.uint64(32)) & mask) * to_unit

            if use_edges:
                l = depth[v, max(u - 1, 0)]
                r = depth[v, min(u + 1, width - 1)]
                t = depth[max(v - 1, 0), u]
                b = depth[min(v + 1, height - 1), u]
                # The smaller one-sided difference stays on the surface beside an edge.
                zu = r - z if abs(r - z) < abs(z - l) else z - l
                zv = b - z if abs(b - z) < abs(z - t) else z - t
                if u == 0 or u == width - 1:
                    zu = r - l
                if v == 0 or v == height - 1:
                    zv = b - t
                if min_cos > zero:
                    x, y = np.float32(u) - cx, np.float32(v) - cy
                    nz = z + x * zu + y * zv
                    n_sq = f * f * (zu * zu + zv * zv) + nz * nz
                    ray_sq = one + (x * x + y * y) / (f * f)
                    if z * z < min_cos * min_cos * n_sq * ray_sq:
                        out[v, u] = zero
                        continue
                other = zero
                for k in range(1, reach + 1):
                    for q in (
                        depth[v, max(u - k, 0)],
                        depth[v, min(u + k, width - 1)],
                        depth[max(v - k, 0), u],
                        depth[min(v + k, height - 1), u],
                    ):
                        # A slope of one step per pixel is no edge, so the threshold grows with distance.
                        if abs(q - z) > jump * k or q <= zero:
                            other = q if q > zero else z
                            break
                    if other > zero:
                        break
                if other > zero:
                    if draw < p_drop:
                        out[v, u] = zero
                        continue
                    if draw < p_drop + p_flying:
                        z += (draw - p_drop) / p_flying * (other - z)

            if lateral > zero:
                uu = min(max(int(np.rint(u + lateral * n0)), 0), width - 1)
                vv = min(max(int(np.rint(v + lateral * n1)), 0), height - 1)
                seen = depth[vv, uu]
                if seen > zero and not (use_edges and other > zero and draw < p_drop + p_flying):
                    z = seen
                word = _hash(word + golden)
                n0 = normal[word & mask]
                n1 = normal[(word >> np.uint64(16)) & mask]

            z_true = z
            if sigma0 > zero or quadratic > zero:
                z += n0 * (sigma0 + quadratic * (z_true - z0) * (z_true - z0))
            if fb > zero and (d_sigma > zero or d_step > zero):
                d = fb / z + d_sigma * n1
                if d_step > zero:
                    d = np.float32(np.rint(d / d_step)) * d_step
                z = fb / d if d > zero else zero
            if use_field:
                fu, fv = np.float32(u) * inv_cell, np.float32(v) * inv_cell
                iu, iv = int(fu), int(fv)
                a, c = fu - np.float32(iu), fv - np.float32(iv)
                wu, wv = one - a, one - c
                mixed = wv * (wu * field[iv, iu] + a * field[iv, iu + 1]) + c * (
                    wu * field[iv + 1, iu] + a * field[iv + 1, iu + 1]
                )
                # Dividing by the weights' norm keeps the variance the same between the nodes.
                z += mixed / np.sqrt((wu * wu + a * a) * (wv * wv + c * c))
            if z < near or z > far:
                z = zero
            out[v, u] = z
