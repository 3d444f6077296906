"""Position tables: the fixed one, and learned ones on another grid."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sinew_policies.t3.positions import resize_positions, sine_cosine_table


@given(grid=st.integers(1, 20), quarter=st.integers(1, 16))
def test_table_codes_column_then_row(grid: int, quarter: int) -> None:
    width = 4 * quarter
    table = sine_cosine_table(grid, width)
    assert table.shape == (1, 1 + grid**2, width)
    assert not table[0, 0].any()
    cells = table[0, 1:].reshape(grid, grid, 2, 2, quarter)  # row, column, axis, sine or cosine, frequency
    frequency = 10000.0 ** (-np.arange(quarter) / quarter)
    for axis, place in ((0, np.arange(grid)[None, :]), (1, np.arange(grid)[:, None])):
        angle = np.broadcast_to(place[..., None] * frequency, (grid, grid, quarter))
        np.testing.assert_allclose(cells[:, :, axis, 0], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(cells[:, :, axis, 1], np.cos(angle), atol=1e-6)


def test_resizing_keeps_cls_and_constants_and_order() -> None:
    table = torch.randn(1, 1 + 49, 8, generator=torch.Generator().manual_seed(0))
    assert resize_positions(table, 7) is table
    assert torch.equal(resize_positions(table, 9)[:, 0], table[:, 0])
    constant = torch.ones(1, 50, 8)
    torch.testing.assert_close(resize_positions(constant, 11), torch.ones(1, 122, 8))
    transposed = torch.cat([table[:, :1], table[:, 1:].reshape(1, 7, 7, 8).transpose(1, 2).flatten(1, 2)], 1)
    torch.testing.assert_close(
        resize_positions(transposed, 5)[:, 1:].reshape(5, 5, 8),
        resize_positions(table, 5)[:, 1:].reshape(5, 5, 8).transpose(0, 1),
    )
