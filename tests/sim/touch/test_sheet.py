from pathlib import Path

import numpy as np
from PIL import Image

from sinew_sim.touch.gel import SENSORS
from sinew_sim.touch.indenters import INDENTERS
from sinew_sim.touch.sheet import draw


def test_every_cell_shows_an_imprint(tmp_path: Path) -> None:
    draw(tmp_path / "sheet.jpg")
    pixels = np.asarray(Image.open(tmp_path / "sheet.jpg").convert("L"), np.float64)[24:, 64:]
    rows = np.split(pixels, len(SENSORS))
    for row in rows:
        for cell in np.split(row, len(INDENTERS), axis=1):
            middle, edge = cell[20:100, 30:130], cell[20:100, 130:]  # the bar lies below both
            assert middle.std() > 2.0 * edge.std()
