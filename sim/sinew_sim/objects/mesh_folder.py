"""Objects from a folder of meshes in metres: repaired, cut into convex pieces in child processes, cached."""

import hashlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sinew_policies.common.errors import ConfigError, MeshError
from sinew_sim.objects import pieces
from sinew_sim.objects.model import ObjectModel, mass_properties
from sinew_sim.objects.standing import upright

_LOG = logging.getLogger("sinew.objects")
_DENSITY_KG_M3 = 500.0
_MASS_KG = (0.05, 0.8)
_FRICTION = 0.75
_SUFFIXES = (".obj", ".stl", ".ply", ".glb")
_UNUSABLE = 3  # exit status of the child for a mesh that it had to refuse

Progress = Callable[[int, int, str], None]
"""Called with meshes done, meshes in all, and the file just finished."""


@dataclass(frozen=True)
class LoadReport:
    """What became of each mesh file; paths relative to the folder."""

    loaded: tuple[str, ...]
    warnings: tuple[tuple[str, str], ...]  # (file, what was repaired or replaced), still loaded
    skipped: tuple[tuple[str, str], ...]  # (file, reason)
    cached: int  # of the loaded, how many needed no work
    seconds: float

    def text(self) -> str:
        head = f"{len(self.loaded)} meshes loaded ({self.cached} from the cache), {len(self.skipped)} skipped"
        lines = [f"  warning {name}: {what}" for name, what in self.warnings]
        lines += [f"  skipped {name}: {why}" for name, why in self.skipped]
        return "\n".join([head, *lines])


def default_cache() -> Path:
    """$SINEW_CACHE, else ~/.cache/sinew, with the folder for convex pieces."""
    root = os.environ.get("SINEW_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "sinew") / "convex"


def load_folder(
    path: Path,
    cache_dir: Path | None = None,
    *,
    workers: int = 2,
    timeout_s: float = 90.0,
    progress: Progress | None = None,
) -> tuple[list[ObjectModel], LoadReport]:
    """All usable OBJ, STL, PLY and GLB files below `path`, in order of their names.

    `timeout_s` bounds one file's decomposition; after it the convex hull stands in, with a warning. ConfigError
    when `path` is no folder, MeshError when nothing in it can be used.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(f"object folder {folder} is not a directory; give one with OBJ, STL, PLY or GLB files")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    if not files:
        raise MeshError(f"no OBJ, STL, PLY or GLB file in {folder}; put meshes in metres there")
    cache = cache_dir or default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    results: list[_Result] = []
    with ThreadPoolExecutor(max_workers=workers) as threads:
        for file, result in zip(files, threads.map(lambda f: _convexify(f, cache, timeout_s), files), strict=True):
            results.append(result)
            if progress is not None:
                progress(len(results), len(files), file.name)
    names = [str(f.relative_to(folder)) for f in files]
    report = _report(names, results, time.monotonic() - started)
    _log(folder, report)
    objects = [_object(n, r.pieces) for n, r in zip(names, results, strict=True) if r.pieces is not None]
    if not objects:
        raise MeshError(f"none of the {len(files)} meshes in {folder} can be used:\n{report.text()}")
    return objects, report


@dataclass(frozen=True, eq=False)
class _Result:
    pieces: pieces.Pieces | None
    reason: str = ""
    cached: bool = False


def _convexify(file: Path, cache: Path, timeout_s: float) -> _Result:
    try:
        with file.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256")
    except OSError as e:
        return _Result(None, f"cannot be read ({e.strerror})")
    digest.update(f"{file.suffix.lower()} {pieces.SETTINGS}".encode())
    target = cache / f"{digest.hexdigest()[:32]}.npz"
    ready = pieces.load(target)
    if ready is not None:
        return _Result(ready, cached=True)
    reason, fault = _run_child(file, target, timeout_s)
    if reason:
        return _Result(None, reason)
    clean = target.with_suffix(".clean.npz")
    done, hull = pieces.load(target), pieces.load(clean)
    clean.unlink(missing_ok=True)
    if done is None and hull is not None:
        warning = f"convex decomposition {fault}; its convex hull is used (delete {target} to try again)"
        done = replace(hull, warnings=(*hull.warnings, warning))
        pieces.save(target, done)
    return _Result(done, "" if done else f"reading it {fault}")


def _run_child(file: Path, target: Path, timeout_s: float) -> tuple[str, str]:
    """(why the mesh is unusable, what went wrong with the process); both empty when all went well."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    command = [sys.executable, "-m", "sinew_sim.objects.decompose", str(file.absolute()), str(target.absolute())]
    try:
        child = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"took longer than {timeout_s:g} s"
    if child.returncode == _UNUSABLE:
        lines = child.stdout.decode(errors="replace").strip().splitlines()
        return (lines[-1] if lines else "unusable"), ""
    if child.returncode:
        tail = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        return "", f"failed (exit {child.returncode}: {tail[0][:100]})"
    return "", ""


def _object(name: str, mesh: pieces.Pieces) -> ObjectModel:
    volume, com, _ = mass_properties(mesh.hulls)
    R = upright(np.concatenate([v for v, _ in mesh.hulls]) - com)
    tint = hashlib.sha256(name.encode()).digest()
    return ObjectModel(
        name=Path(name).with_suffix("").as_posix().replace("/", "_"),
        family="mesh",
        vertices=(mesh.vertices - com) @ R.T,
        faces=mesh.faces,
        hulls=tuple(((v - com) @ R.T, f) for v, f in mesh.hulls),
        mass_kg=float(np.clip(volume * _DENSITY_KG_M3, *_MASS_KG)),
        friction=_FRICTION,
        rgba=(0.3 + tint[0] / 400, 0.3 + tint[1] / 400, 0.3 + tint[2] / 400, 1.0),
    )


def _report(names: list[str], results: list[_Result], seconds: float) -> LoadReport:
    pairs = list(zip(names, results, strict=True))
    return LoadReport(
        loaded=tuple(n for n, r in pairs if r.pieces is not None),
        warnings=tuple((n, w) for n, r in pairs if r.pieces for w in r.pieces.warnings),
        skipped=tuple((n, r.reason) for n, r in pairs if r.pieces is None),
        cached=sum(r.cached for r in results),
        seconds=seconds,
    )


def _log(folder: Path, report: LoadReport) -> None:
    for name, what in report.warnings:
        _LOG.warning("%s: %s", folder / name, what)
    for name, why in report.skipped:
        _LOG.warning("%s skipped: %s", folder / name, why)
    if report.skipped:
        _LOG.warning("%d of %d meshes skipped", len(report.skipped), len(report.skipped) + len(report.loaded))
