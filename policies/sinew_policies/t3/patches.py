"""Images as rows of flattened patches, and back."""

from torch import Tensor


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) → (B, rows · columns, patch² · 3), each patch flattened as row, column, channel."""
    B, C, H, W = images.shape
    grid = images.reshape(B, C, H // patch, patch, W // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(B, (H // patch) * (W // patch), patch * patch * C)


def unpatchify(patches: Tensor, patch: int, rows: int, columns: int) -> Tensor:
    """Inverse of `patchify`: (B, rows · columns, patch² · 3) → (B, 3, rows · patch, columns · patch)."""
    B, _, width = patches.shape
    channels = width // (patch * patch)
    grid = patches.reshape(B, rows, columns, patch, patch, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(B, channels, rows * patch, columns * patch)
