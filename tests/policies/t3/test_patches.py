import torch

from sinew_policies.t3.patches import patchify, unpatchify

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_a_patch_is_flattened_as_row_column_channel() -> None:
    patches = patchify(IMAGES, 16)
    assert patches.shape == (2, 6, 768)
    for row, column, y, x, channel in [(0, 0, 0, 0, 0), (1, 2, 3, 5, 1), (0, 1, 15, 15, 2)]:
        value = patches[1, row * 3 + column, (y * 16 + x) * 3 + channel]
        assert value == IMAGES[1, channel, row * 16 + y, column * 16 + x]


def test_unpatchify_inverts_patchify() -> None:
    assert torch.equal(unpatchify(patchify(IMAGES, 16), 16, 2, 3), IMAGES)
