"""`python -m sinew_sim.touch.sheet FILE`: every indenter pressed into every sensor, as one labelled picture."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sinew_policies.common.geometry import rot_z
from sinew_policies.common.seeds import stream
from sinew_sim.touch.gel import SENSORS, render
from sinew_sim.touch.indenters import INDENTERS

_CELL_PX = (160, 120)  # a frame at half its size
_LEFT_PX, _TOP_PX = 64, 24  # for the names
_DEPTH_MM, _YAW_DEG, _SCALE_MM = 0.7, 15.0, 5.0


def draw(file: Path) -> None:
    width, height = _CELL_PX
    sheet = Image.new("RGB", (_LEFT_PX + width * len(INDENTERS), _TOP_PX + height * len(SENSORS)), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for column, name in enumerate(INDENTERS):
        pen.text((_LEFT_PX + width * (column + 0.5), _TOP_PX / 2), name, "black", font, anchor="mm")
    T_sensor_object = np.eye(4)
    T_sensor_object[:3, :3] = rot_z(np.radians(_YAW_DEG))
    T_sensor_object[2, 3] = -_DEPTH_MM
    for row, sensor in enumerate(SENSORS.values()):
        top = _TOP_PX + height * row
        pen.text((_LEFT_PX / 2, top + height / 2), sensor.name, "black", font, anchor="mm")
        for column, (name, relief) in enumerate(INDENTERS.items()):
            frame = render(sensor, relief, T_sensor_object, stream(0, "sheet", sensor.name, name))
            cell = Image.fromarray(frame).resize(_CELL_PX, Image.Resampling.LANCZOS)
            sheet.paste(cell, (_LEFT_PX + width * column, top))
        bar_px = _SCALE_MM / sensor.mm_per_px * width / sensor.width_px
        left, bottom = _LEFT_PX + 8, top + height - 8
        pen.line((left, bottom, left + bar_px, bottom), "white", 3)
        pen.text((left + bar_px / 2, bottom - 5), f"{_SCALE_MM:g} mm", "white", font, anchor="mb")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    sheet.save(partial, "JPEG", quality=90, subsampling=0)
    partial.replace(file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m sinew_sim.touch.sheet", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="JPEG to write")
    draw(parser.parse_args().file)
