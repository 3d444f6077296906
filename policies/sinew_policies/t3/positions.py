"""Positions of the patches of an image: the fixed table, and learned tables for another grid."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sine_cosine_table(grid: int, width: int) -> Tensor:
    """Fixed positions (1, 1 + grid², width) of CLS (zeros) and of the patches row by row.

    The first half of the channels codes the column, the second the row; each is sines, then cosines, of the
    coordinate over 10000^(2i / (width / 2)).
    """
    quarter = width // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency
    code = torch.cat([angle.sin(), angle.cos()], 1)  # (grid, width / 2)
    half = width // 2
    column = code[None].expand(grid, grid, half)
    row = code[:, None].expand(grid, grid, half)
    patches = torch.cat([column, row], -1).reshape(grid * grid, width)
    return torch.cat([patches.new_zeros(1, width), patches]).float()[None]


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """A position table (1, 1 + g², W) for another grid: bicubic, CLS row kept. Same grid: the table itself."""
    side = round((table.shape[1] - 1) ** 0.5)
    if side == grid:
        return table
    patches = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(patches, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], 1)
