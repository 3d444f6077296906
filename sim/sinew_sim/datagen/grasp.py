"""Training scenes for M2T2: objects graded in physics, settled scenes, exposures, labels, shards.

Two resumable phases. Objects: one `objects/<name>.npz` each. Scenes: shards of `SCENES_PER_SHARD` scenes with
several exposures each. Whatever file exists is kept, so an interrupted run goes on where it stopped; every
object and scene depends on the seed and its own index only, not on workers or order.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import mujoco
import numpy as np

from sinew_policies.common.errors import ConfigError
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64
from sinew_policies.m2t2.shards import TrainingScene, write_shard
from sinew_sim.camera.noise import noise_preset
from sinew_sim.datagen.point_labels import label_points
from sinew_sim.floating.antipodal import Surface
from sinew_sim.floating.object_grasps import ObjectGrasps, grade_object
from sinew_sim.floating.scene import build_scene
from sinew_sim.floating.scene_grasps import find_grasps
from sinew_sim.floating.view import CalibrationError, SceneCamera, ViewRange, draw_view
from sinew_sim.objects.generator import generate
from sinew_sim.objects.model import ObjectModel
from sinew_sim.scenes.make import make_scene
from sinew_sim.scenes.spec import SceneKind, SceneSpec
from sinew_sim.worker_pool import worker_pool

VERSION = 1
SCENES_PER_SHARD = 8
_MOST_OBJECTS = 7
_TRIES = 8
_NOISES = ("stereo", "stereo", "stereo", "kinect", "none")


@dataclass(frozen=True)
class GraspDataConfig:
    """`scenes` counts settled scenes; each gives `views` exposures, and a training scene is one exposure."""

    out: Path
    objects: int = 303
    scenes: int = 1600
    views: int = 3
    seed: int = 0
    workers: int = 2
    minutes: float | None = None  # stop starting new work after this long
    points_per_object: int = 350

    def __post_init__(self) -> None:
        for name in ("objects", "scenes", "views", "workers", "points_per_object"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; expected 0 or more")
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes}; expected more than 0, or leave it out")


@dataclass(frozen=True)
class GraspDataReport:
    objects: int
    shards: int
    exposures: int
    points: int
    positives: int
    seconds: float


@dataclass(frozen=True)
class _ShardCount:
    exposures: int
    points: int
    positives: int


_A = TypeVar("_A")
_R = TypeVar("_R")

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total)."""


def generate_grasp_data(config: GraspDataConfig, progress: Progress | None = None) -> GraspDataReport:
    """Makes what is missing in `config.out` and writes `manifest.json`. Safe to interrupt and call again."""
    start = time.monotonic()
    config.out.mkdir(parents=True, exist_ok=True)
    _check_manifest(config)
    _write_manifest(config, None)
    report = progress or (lambda *_: None)
    deadline = None if config.minutes is None else start + 60.0 * config.minutes
    # One thread per worker: the workers are the parallelism.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("MUJOCO_GL", "egl")
    with worker_pool(config.workers) as pool:
        everything = [(config, i) for i in range(config.objects)]
        graded = _run(pool, config.workers, _make_object, everything, "objects", report, None)
        firsts = range(0, config.scenes, SCENES_PER_SHARD)
        shards = [(config, k) for k in firsts]
        counts = _run(pool, config.workers, _make_shard, shards, "scenes", report, deadline)
    result = GraspDataReport(
        objects=len(graded),
        shards=len(counts),
        exposures=sum(c.exposures for c in counts),
        points=sum(c.points for c in counts),
        positives=sum(c.positives for c in counts),
        seconds=time.monotonic() - start,
    )
    _write_manifest(config, result)
    return result


def object_path(out: Path, obj: ObjectModel) -> Path:
    return out / "objects" / f"{obj.name}.npz"


def _run(
    pool: ProcessPoolExecutor,
    workers: int,
    work: Callable[[_A], _R],
    jobs: Iterable[_A],
    phase: str,
    report: Progress,
    deadline: float | None,
) -> list[_R]:
    """Runs the jobs a few at a time, so that a deadline or an interrupt leaves little behind."""
    waiting = list(jobs)[::-1]
    total = len(waiting)
    done: list[_R] = []
    running: set[Future[_R]] = set()
    report(phase, 0, total)
    while waiting or running:
        late = deadline is not None and time.monotonic() > deadline
        while waiting and not late and len(running) < 2 * workers:
            running.add(pool.submit(work, waiting.pop()))
        if not running:
            break
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        done.extend(f.result() for f in finished)
        report(phase, len(done), total)
    return done


def _make_object(job: tuple[GraspDataConfig, int]) -> str:
    config, index = job
    obj = generate(config.seed, index)
    path = object_path(config.out, obj)
    if not (path.is_file() and ObjectGrasps.load(path).content_hash == obj.content_hash()):
        grade_object(obj, stream(config.seed, "grasps", index)).save(path)
    return obj.name


def _make_shard(job: tuple[GraspDataConfig, int]) -> _ShardCount:
    config, first = job
    path = config.out / f"scenes_{first * config.views:07d}.npz"
    mark = path.with_suffix(".json")
    if path.is_file() and mark.is_file():
        return _ShardCount(**json.loads(mark.read_text()))
    exposures: list[TrainingScene] = []
    for index in range(first, min(first + SCENES_PER_SHARD, config.scenes)):
        exposures += make_exposures(config, index)
    write_shard(config.out, exposures)
    count = _ShardCount(
        exposures=len(exposures),
        points=sum(len(s.label) for s in exposures),
        positives=sum(int((s.label >= 0).sum()) for s in exposures),
    )
    mark.write_text(json.dumps(asdict(count)))
    return count


def make_exposures(config: GraspDataConfig, index: int) -> list[TrainingScene]:
    """All labelled exposures of scene `index`."""
    pool = _pool(config.seed, config.objects)
    objects, poses = settled_objects(config, index)
    scene = build_scene(objects, poses)
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    rng = stream(config.seed, "labels", index)
    surfaces = [_surface(config.seed, o.name, pool) for o in objects]
    graded = [_graded(config.out, o.name) for o in objects]
    grasps = find_grasps(scene, data, surfaces, graded, config.points_per_object, rng)
    out: list[TrainingScene] = []
    with SceneCamera(scene) as camera:
        for view in range(config.views):
            noise = noise_preset(_NOISES[int(rng.integers(len(_NOISES)))])
            exposure = camera.expose(data, draw_view(ViewRange(), rng), noise, CalibrationError(), rng)
            out.append(
                label_points(
                    scene,
                    data,
                    surfaces,
                    grasps,
                    exposure,
                    rng,
                    scene_id=index * config.views + view,
                    seed=config.seed,
                )
            )
    return out


def settled_objects(config: GraspDataConfig, index: int) -> tuple[tuple[ObjectModel, ...], F64]:
    """Objects and poses (n, 7) of scene `index`; crowded draws that do not fit are drawn again with fewer."""
    pool = _pool(config.seed, config.objects)
    rng = stream(config.seed, "scene", index)
    kind: SceneKind = "packed" if rng.random() < 0.5 else "pile"
    n = int(rng.integers(1, _MOST_OBJECTS + 1))
    fault: ConfigError | None = None
    for _ in range(_TRIES):
        try:
            made = make_scene(SceneSpec(kind, int(rng.integers(2**31)), n_objects=n), pool)
        except ConfigError as error:
            fault, n = error, max(1, n - 1)
            continue
        return made.objects, made.poses
    raise ConfigError(f"scene {index} could not be made in {_TRIES} tries: {fault}")


@lru_cache(maxsize=1)
def _pool(seed: int, n: int) -> tuple[ObjectModel, ...]:
    return tuple(generate(seed, i) for i in range(n))


@lru_cache(maxsize=512)
def _surface(seed: int, name: str, pool: tuple[ObjectModel, ...]) -> Surface:
    obj = next(o for o in pool if o.name == name)
    return Surface(obj.vertices, obj.faces)


@lru_cache(maxsize=512)
def _graded(out: Path, name: str) -> ObjectGrasps:
    return ObjectGrasps.load(out / "objects" / f"{name}.npz")


def _manifest(config: GraspDataConfig) -> dict[str, str | int | float | None]:
    return {
        "version": VERSION,
        "seed": config.seed,
        "objects": config.objects,
        "scenes": config.scenes,
        "views": config.views,
        "points_per_object": config.points_per_object,
    }


def _check_manifest(config: GraspDataConfig) -> None:
    """Refuses to mix data of different seeds or rules in one folder."""
    path = config.out / "manifest.json"
    if not path.is_file():
        return
    old = json.loads(path.read_text())
    for name in ("version", "seed", "objects", "views", "points_per_object"):
        mine = _manifest(config)[name]
        if old.get(name) != mine:
            raise ConfigError(
                f"{path} was made with {name} {old.get(name)}, now {mine} is asked for; "
                "choose another --out or delete the folder"
            )


def _write_manifest(config: GraspDataConfig, result: GraspDataReport | None) -> None:
    content: dict[str, object] = dict(_manifest(config))
    content["mujoco"] = mujoco.__version__
    content["numpy"] = np.__version__
    content["complete"] = result is not None and result.exposures >= config.scenes * config.views
    if result is not None:
        content.update(
            exposures=result.exposures,
            points=result.points,
            positive_share=result.positives / max(1, result.points),
        )
    path = config.out / "manifest.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
