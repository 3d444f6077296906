"""The picture of a run: what the camera saw with M2T2's grasps drawn in, beside what was left at the end."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sinew_nodes.view.page import gripper_lines
from sinew_policies.common.geometry import apply, inverse
from sinew_policies.common.types import F64, U8, CameraModel, Grasp

_NEAR_M = 0.05
_BEST_RGB = (40, 220, 110)
_OTHER_RGB = (250, 190, 60)


def draw_grasps(rgb: U8, grasps: tuple[Grasp, ...], model: CameraModel, T_base_cam: F64) -> U8:
    """Draws grasps (best first, given in base) into an image (H, W, 3); T_base_cam is the optical frame's pose."""
    image = Image.fromarray(rgb)
    draw = ImageDraw.Draw(image)
    T_cam_base = inverse(T_base_cam)
    for rank, grasp in reversed(list(enumerate(grasps))):
        ends = apply(T_cam_base, gripper_lines(grasp).reshape(-1, 3))  # (10, 3) metres
        if np.any(ends[:, 2] < _NEAR_M):
            continue
        u = model.fx * ends[:, 0] / ends[:, 2] + model.cx
        v = model.fy * ends[:, 1] / ends[:, 2] + model.cy
        for i in range(0, 10, 2):
            draw.line(
                [(u[i], v[i]), (u[i + 1], v[i + 1])],
                fill=_BEST_RGB if rank == 0 else _OTHER_RGB,
                width=3 if rank == 0 else 1,
            )
    return np.asarray(image)


def side_by_side(panels: list[tuple[str, U8]], path: Path, *, height: int = 360) -> None:
    """Writes captioned panels as one image."""
    bar = 26
    scaled = []
    for _, rgb in panels:
        image = Image.fromarray(rgb)
        scaled.append(image.resize((round(image.width * height / image.height), height), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (sum(i.width for i in scaled) + 6 * (len(scaled) - 1), height + bar), (255, 255, 255))
    draw, font, x = ImageDraw.Draw(sheet), ImageFont.load_default(size=16), 0
    for (caption, _), image in zip(panels, scaled, strict=True):
        draw.text((x + 4, 3), caption, fill=(30, 30, 35), font=font)
        sheet.paste(image, (x, bar))
        x += image.width + 6
    sheet.save(path, quality=88)
