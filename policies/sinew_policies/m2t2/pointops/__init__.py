"""Point operations with one exact answer on every device (M2T2's encoder is built on them).

Squared distances are (dx·dx + dy·dy) + dz·dz in float32, never fused, never expanded.

- Furthest point sampling starts at index 0 with distance 1e10; with `exclude_origin`, points with
  |p|² <= 1e-3 are never chosen; ties go to the lowest index; index 0 repeats when nothing is eligible.
- Ball query takes hits in index order with strict <, the first k; free slots repeat the first hit; no hit
  gives zeros.
- Three nearest neighbours come in ascending order, the earliest index wins ties.

CPU tensors run compiled kernels, one cloud at a time on one thread. Other devices run plain torch, except that
sampling few clouds is done on the CPU: its steps depend on one another, and a core is faster at that.
"""

import numpy as np
import torch
from torch import Tensor

from sinew_policies.common.errors import CloudError
from sinew_policies.m2t2.pointops import ball, fps, knn, reference

__all__ = ["ball_query", "furthest_point_sample", "three_nn"]

_SAMPLE_ON_CPU_UP_TO = 8  # clouds


def furthest_point_sample(xyz: Tensor, n: int, exclude_origin: bool = False) -> Tensor:
    """Indices (B, n) int64 of a furthest-point sample of xyz (B, N, 3) float32."""
    _check("xyz", xyz)
    if n < 1:
        raise CloudError(f"furthest_point_sample: n = {n}, expected at least 1")
    if xyz.is_cuda and len(xyz) > _SAMPLE_ON_CPU_UP_TO:
        return reference.furthest_point_sample(xyz, n, exclude_origin)
    out = np.stack([fps.sample(c, n, exclude_origin) for c in _clouds("xyz", xyz)])
    return torch.from_numpy(out.astype(np.int64)).to(xyz.device)


def ball_query(xyz: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    """Indices (B, M, k) int64 into xyz (B, N, 3) of the first k points within radius of centres (B, M, 3)."""
    _check("xyz", xyz)
    _check("centres", centres, like=xyz)
    if k < 1 or not radius > 0.0:
        raise CloudError(f"ball_query: radius = {radius} m, k = {k}; expected radius > 0 and k >= 1")
    if xyz.is_cuda:
        return reference.ball_query(xyz, centres, radius, k)
    pairs = zip(_clouds("xyz", xyz), _clouds("centres", centres), strict=True)
    out = np.stack([ball.query(points, at, radius, k) for points, at in pairs])
    return torch.from_numpy(out.astype(np.int64))


def three_nn(query: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (B, Q, 3) float32 and indices (B, Q, 3) int64 of the three nearest of ref (B, R, 3).

    With fewer than three reference points the free slots hold infinity and index 0.
    """
    _check("query", query)
    _check("ref", ref, like=query)
    if query.is_cuda:
        return reference.three_nn(query, ref)
    pairs = zip(_clouds("query", query), _clouds("ref", ref), strict=True)
    found = [knn.nearest_three(q, r) for q, r in pairs]
    d2 = np.stack([d for d, _ in found])
    index = np.stack([i for _, i in found]).astype(np.int64)
    return torch.from_numpy(d2), torch.from_numpy(index)


def _check(name: str, points: Tensor, like: Tensor | None = None) -> None:
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[0] < 1 or points.shape[1] < 1:
        raise CloudError(f"{name} has shape {tuple(points.shape)}, expected (B, N, 3) with B, N >= 1")
    if points.dtype != torch.float32:
        raise CloudError(f"{name} is {points.dtype}, expected torch.float32; convert it with .float()")
    if like is not None and (points.shape[0] != like.shape[0] or points.device != like.device):
        raise CloudError(
            f"{name} has batch {points.shape[0]} on {points.device}, expected batch {like.shape[0]} on "
            f"{like.device} like its partner"
        )


def _clouds(name: str, points: Tensor) -> np.ndarray:
    """(B, N, 3) contiguous float32 on the CPU, checked to be finite."""
    array: np.ndarray = points.detach().cpu().contiguous().numpy()
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=-1).sum())
        raise CloudError(
            f"{name} has {bad} points with NaN or infinite coordinates; drop them with pointcloud.validate_cloud"
        )
    return array
