"""Labelled touches as FoTa shards: which sets there are, and the samples of each.

Per sensor one set of probing (six indenters: class, position, image variance), and one per pose object (6D pose
of that object from frame to frame). Every sample is a pure function of seed, set and number, so an interrupted
run goes on with the shards that are missing.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sinew_policies.common.errors import ConfigError, DataError
from sinew_policies.common.geometry import quat_from_matrix, rot_x, rot_z
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.t3.fota import Sample, index_shard, write_count, write_shard
from sinew_policies.t3.sets import SetInfo, open_set, write_info
from sinew_sim.touch.gel import image_variance, reference, render, sensor_of
from sinew_sim.touch.indenters import PROBES, relief_of
from sinew_sim.worker_pool import worker_pool

MANIFEST = "manifest.json"

_VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class PressRange:
    """Uniform ranges of poses of the object in the sensor's frame."""

    shift_mm: float = 2.5  # either way along x and y
    depth_mm: tuple[float, float] = (0.2, 1.1)  # how far below the resting gel the object's origin lies
    yaw_deg: float = 20.0  # either way about z
    tilt_deg: float = 4.0  # at most, about any axis in the gel's plane


@dataclass(frozen=True)
class TouchDataConfig:
    out: Path
    samples: int = 2000  # per set, both splits together
    sensors: tuple[str, ...] = ("mini", "wedge", "digit")
    objects: tuple[str, ...] = ("key",)  # with 6D poses
    seed: int = 0
    per_shard: int = 500
    workers: int = 1
    press: PressRange = PressRange()

    def __post_init__(self) -> None:
        for name in ("samples", "per_shard", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected 1 or more")
        if self.samples < 5:
            raise ConfigError(f"samples is {self.samples}; expected at least 5, so that both splits have some")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; expected 0 or more")
        for sensor in self.sensors:
            sensor_of(sensor)
        for name in self.objects:
            relief_of(name)


@dataclass(frozen=True)
class TouchSet:
    """One set to write."""

    name: str
    sensor: str
    indenters: tuple[str, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class ShardJob:
    touch_set: TouchSet
    split: str
    number: int
    samples: range  # of the whole set


def sets_of(config: TouchDataConfig) -> list[TouchSet]:
    sets: list[TouchSet] = []
    for sensor in config.sensors:
        tasks = ("cls_cnc", "pose_estimation_3d", "variance_estimation")
        sets.append(TouchSet(f"gel_{sensor}_probe", sensor, PROBES, tasks))
        sets += [
            TouchSet(f"gel_{sensor}_{name}", sensor, (name,), (f"pose_estimation_6d_{sensor}",))
            for name in config.objects
        ]
    return sets


def generate_touch_data(config: TouchDataConfig, progress: Callable[[int, int], None] | None = None) -> int:
    """Writes all sets and returns the number of samples; whole shards that are there already are kept.

    Raises ConfigError where `out` holds the data of other settings, WorkerLost where a worker was killed.
    """
    _claim(config)
    jobs = [job for s in sets_of(config) for job in _jobs(s, config)]
    todo = [job for job in jobs if not _is_there(job, config)]
    done, report = len(jobs) - len(todo), progress or (lambda *_: None)
    report(done, len(jobs))
    for finished in _worked(todo, config):
        done += finished
        report(done, len(jobs))
    for touch_set in sets_of(config):
        _complete(touch_set, config)
    return config.samples * len(sets_of(config))


def make_sample(touch_set: TouchSet, number: int, config: TouchDataConfig) -> Sample:
    """Image and labels of one touch, by seed, set and number."""
    rng = stream(config.seed, "touch", touch_set.name, number)
    sensor = sensor_of(touch_set.sensor)
    index = int(rng.integers(len(touch_set.indenters)))
    indenter = touch_set.indenters[index]
    T_sensor_object = random_press(config.press, rng)
    image = render(sensor, relief_of(indenter), T_sensor_object, rng)
    x, y, z = (round(float(v), 5) for v in T_sensor_object[:3, 3])
    return Sample(
        f"{touch_set.name}-{number:07d}",
        image,
        {
            "obj": indenter,
            "obj_idx": index,
            "x_mm": x,
            "y_mm": y,
            "z_mm": z,
            "quat_xyzw": [round(float(v), 7) for v in quat_from_matrix(T_sensor_object[:3, :3])],
            "vars": round(image_variance(image, reference(sensor)), 4),
            "has_contact": True,
        },
    )


def random_press(press: PressRange, rng: np.random.Generator) -> F64:
    """T_sensor_object (4, 4), millimetres."""
    axis, tilt, yaw = rng.uniform(-np.pi, np.pi), rng.uniform(0.0, press.tilt_deg), rng.uniform(-1.0, 1.0)
    tilted = rot_z(axis) @ rot_x(np.radians(tilt)) @ rot_z(-axis)
    T = np.eye(4)
    T[:3, :3] = tilted @ rot_z(np.radians(yaw * press.yaw_deg))
    T[:2, 3] = rng.uniform(-press.shift_mm, press.shift_mm, 2)
    T[2, 3] = -rng.uniform(*press.depth_mm)
    return T


def _jobs(touch_set: TouchSet, config: TouchDataConfig) -> Iterator[ShardJob]:
    # Samples are independent, so the last ones are as good a validation split as any.
    first = config.samples - max(1, round(config.samples * _VALIDATION_SHARE))
    for split, begin, end in (("train", 0, first), ("val", first, config.samples)):
        for number, start in enumerate(range(begin, end, config.per_shard)):
            yield ShardJob(touch_set, split, number, range(start, min(start + config.per_shard, end)))


def _is_there(job: ShardJob, config: TouchDataConfig) -> bool:
    path = config.out / job.touch_set.name / job.split / f"data-{job.number:06d}.tar"
    try:
        return path.exists() and len(index_shard(path)) == len(job.samples)
    except DataError:
        return False  # damaged: it is written again


def _worked(jobs: list[ShardJob], config: TouchDataConfig) -> Iterator[int]:
    if config.workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield _write(job, config)
        return
    with worker_pool(min(config.workers, len(jobs))) as pool:
        for future in as_completed([pool.submit(_write, job, config) for job in jobs]):
            yield future.result()


def _write(job: ShardJob, config: TouchDataConfig) -> int:
    folder = config.out / job.touch_set.name / job.split
    write_shard(folder, job.number, (make_sample(job.touch_set, n, config) for n in job.samples))
    return 1


def _complete(touch_set: TouchSet, config: TouchDataConfig) -> None:
    """Counts and description, last of all."""
    folder = config.out / touch_set.name
    for split in ("train", "val"):
        shards = [job for job in _jobs(touch_set, config) if job.split == split]
        write_count(folder / split, sum(len(job.samples) for job in shards))
    sensor = sensor_of(touch_set.sensor)
    info = SetInfo(
        touch_set.sensor,
        touch_set.tasks,
        frame_px=(sensor.height_px, sensor.width_px),
        crop_area=(0.6, 1.0),  # contacts are small, smaller crops miss them
        source=f"sinew datagen touch, seed {config.seed}",
    )
    write_info(folder, info)
    measured = open_set(folder, seed=config.seed)
    write_info(folder, measured.info)


def _claim(config: TouchDataConfig) -> None:
    """Notes the settings in `out`, or checks that those noted are the same."""
    settings = asdict(config)
    for name in ("out", "workers"):  # they do not change the data
        del settings[name]
    text = json.dumps(settings, indent=1) + "\n"
    path = config.out / MANIFEST
    config.out.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if path.read_text() != text:
            raise ConfigError(
                f"{config.out} holds touches of other settings ({path}); choose another --out or delete it"
            )
        return
    partial = path.with_name(f".{MANIFEST}.partial")
    partial.write_text(text)
    partial.replace(path)
