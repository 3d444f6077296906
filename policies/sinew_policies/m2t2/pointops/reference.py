"""The three point operations in plain torch, any device: the rules themselves, batched, without tricks.

Used on accelerators, and as what the fast kernels are tested and timed against. Eager torch rounds every
operation separately, so multiply-add is not fused here either.
"""

import torch
from torch import Tensor

_CHUNK = 1 << 26  # distance-matrix elements per step: 256 MB of float32


def furthest_point_sample(xyz: Tensor, n: int, exclude_origin: bool) -> Tensor:
    """(B, N, 3) -> (B, n) int64; see the package docstring for the rules."""
    batch, _, _ = xyz.shape
    rows = torch.arange(batch, device=xyz.device)
    x, y, z = xyz.unbind(-1)  # (B, N)
    d2 = torch.full_like(x, 1e10)
    banned = torch.zeros_like(x, dtype=torch.bool)
    if exclude_origin:
        banned = ((x * x + y * y) + z * z).double() <= 1e-3
    pick = torch.zeros(batch, dtype=torch.int64, device=xyz.device)
    out = torch.zeros((batch, n), dtype=torch.int64, device=xyz.device)
    nothing_left = banned.all(dim=1)
    for j in range(1, n):
        p = xyz[rows, pick]  # (B, 3)
        dx, dy, dz = x - p[:, :1], y - p[:, 1:2], z - p[:, 2:]
        d2 = torch.minimum(d2, (dx * dx + dy * dy) + dz * dz)
        score = d2.masked_fill(banned, -1.0)
        # argmax promises no order among equals; comparing with the maximum does.
        pick = (score == score.amax(dim=1, keepdim=True)).to(torch.uint8).argmax(dim=1)
        pick = pick.masked_fill(nothing_left, 0)
        out[:, j] = pick
    return out


def ball_query(xyz: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    """(B, N, 3), (B, M, 3) -> (B, M, k) int64; see the package docstring for the rules."""
    n = xyz.shape[1]
    r = torch.tensor(radius, dtype=torch.float32, device=xyz.device)
    index = torch.arange(n, device=xyz.device)
    width = min(k, n)
    out = []
    for c in _chunks(centres, n * xyz.shape[0]):
        d2 = _pairwise_d2(c, xyz)  # (B, m, N)
        first = torch.where(d2 < r * r, index, n).topk(width, dim=-1, largest=False, sorted=True).values
        nearest = first[..., :1]
        filled = torch.where(first < n, first, nearest)
        filled = torch.where(nearest < n, filled, 0)
        out.append(torch.cat([filled, filled[..., :1].expand(*filled.shape[:2], k - width)], dim=-1))
    return torch.cat(out, dim=1)


def three_nn(query: Tensor, ref: Tensor) -> tuple[Tensor, Tensor]:
    """(B, Q, 3), (B, R, 3) -> squared distances (B, Q, 3) float32 and indices (B, Q, 3) int64."""
    distances, indices = [], []
    width = min(3, ref.shape[1])
    for q in _chunks(query, ref.shape[1] * ref.shape[0]):
        # A stable sort keeps the lowest index first among equal distances; topk does not promise that.
        d2, index = _pairwise_d2(q, ref).sort(dim=-1, stable=True)
        missing = (0, 3 - width)
        distances.append(torch.nn.functional.pad(d2[..., :width], missing, value=float("inf")))
        indices.append(torch.nn.functional.pad(index[..., :width], missing))
    return torch.cat(distances, dim=1), torch.cat(indices, dim=1)


def _pairwise_d2(a: Tensor, b: Tensor) -> Tensor:
    """(B, m, 3), (B, N, 3) -> (B, m, N), summed in the fixed order."""
    dx = a[:, :, None, 0] - b[:, None, :, 0]
    dy = a[:, :, None, 1] - b[:, None, :, 1]
    dz = a[:, :, None, 2] - b[:, None, :, 2]
    return (dx * dx + dy * dy) + dz * dz


def _chunks(points: Tensor, row_elements: int) -> tuple[Tensor, ...]:
    return torch.split(points, max(1, _CHUNK // max(1, row_elements)), dim=1)
