"""Small sets of gel images for training tests: a coarse sensor, so that thousands take seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sinew_policies.common.geometry import quat_from_matrix
from sinew_policies.t3.fota import Sample, write_count, write_shard
from sinew_policies.t3.sets import SetInfo, write_info
from sinew_policies.t3.train_config import Shape
from sinew_sim.datagen.touch import PressRange, random_press
from sinew_sim.touch.gel import SENSORS, image_variance, reference, render
from sinew_sim.touch.indenters import PROBES, relief_of

SENSOR = replace(SENSORS["mini"], height_px=48, width_px=64, mm_per_px=0.25)
SHAPE = Shape(
    width=32,
    n_heads=2,
    encoder_depth=1,
    trunk_depth=1,
    image_px=32,
    patch_px=8,
    recon_width=32,
    recon_depth=1,
    recon_heads=2,
    dropout=0.0,
)


def write_set(
    folder: Path,
    tasks: tuple[str, ...],
    train: int,
    val: int,
    *,
    indenters: tuple[str, ...] = PROBES,
    sensor: str = "mini",
    press: PressRange | None = None,
) -> Path:
    rng = np.random.default_rng(len(folder.name))
    for split, count in (("train", train), ("val", val)):
        write_shard(folder / split, 0, [_sample(i, indenters, press or PressRange(), rng) for i in range(count)])
        write_count(folder / split, count)
    write_info(folder, SetInfo(sensor, tasks))
    return folder


def _sample(number: int, indenters: tuple[str, ...], press: PressRange, rng: np.random.Generator) -> Sample:
    index = int(rng.integers(len(indenters)))
    T = random_press(press, rng)
    image = render(SENSOR, relief_of(indenters[index]), T, rng)
    x, y, z = T[:3, 3].tolist()
    labels = {
        "obj_idx": index,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "quat_xyzw": quat_from_matrix(T[:3, :3]).tolist(),
        "vars": image_variance(image, reference(SENSOR)),
    }
    return Sample(f"{number:05d}", image, labels)
