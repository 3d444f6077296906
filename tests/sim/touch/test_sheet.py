from pathlib import Path

import numpy as np
from PIL import Image

from sinew_sim.touch.gel import SENSORS
from sinew_sim.touch.indenters import INDENTERS
from sinew_sim.touch.sheet import draw


def test_every_cell_shows_an_imprint(tmp_path: Path) -> None:
    draw(tmp_path / "sheet.jpg")
    pixels = np.asarray(Image.open(tmp_path / "sheet.jpg"), np.float64)[24:, 64:]
    for row in np.split(pixels, len(SENSORS)):
        for cell in np.split(row, len(INDENTERS), axis=1):
            tint = cell - cell.mean(2, keepdims=True)  # lights of different colours fall on different slopes
            middle, edge = tint[20:90, 30:130], tint[20:90, 130:]  # the bar lies below both
            assert np.ptp(middle, axis=(0, 1)).max() > 2.0 * np.ptp(edge, axis=(0, 1)).max()
