"""The one form in which every command writes what it measured (`--json FILE`).

{command, version, seed, machine, seconds, metrics: {name: {value, low, high, n, unit}}, rows: [...]}.
Rates are fractions 0..1, low and high a 95 % interval, metrics those of the evaluated policy, baselines only
rows. The machine is named by its kind, never by its host name.
"""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from sinew_policies.common.errors import ConfigError

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Metric:
    """A number with its 95 % interval; `n` observations made it."""

    value: float
    low: float
    high: float
    n: int
    unit: str = ""


Cell = str | int | float | bool | None
Row = Mapping[str, "Cell | Mapping[str, Cell]"]


@dataclass(frozen=True)
class Report:
    command: str
    seed: int
    seconds: float
    metrics: Mapping[str, Metric]
    rows: Sequence[Row] = field(default_factory=tuple)

    @staticmethod
    def check_writable(path: Path) -> None:
        """Raises ConfigError where `write` could not write `path`: to be asked before hours of work."""
        if path.is_dir():
            raise ConfigError(f"report file {path} is a folder; name a file in it, such as {path / 'report.json'}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise ConfigError(f"report file {path} cannot be written ({fault.strerror}); name another") from fault
        if not os.access(path.parent, os.W_OK):
            raise ConfigError(
                f"report file {path} cannot be written: no right to write in {path.parent}; name another"
            )

    def write(self, path: Path) -> None:
        """Writes the file atomically, making its folder."""
        content = {
            "command": self.command,
            "version": package_version(),
            "seed": self.seed,
            "machine": machine(),
            "seconds": round(self.seconds, 3),
            "metrics": {name: metric_fields(m) for name, m in self.metrics.items()},
            "rows": [dict(r) for r in self.rows],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
        partial.replace(path)


def metric_fields(m: Metric) -> dict[str, Cell]:
    """The metric as JSON fields; a number that does not exist (NaN) is null."""
    numbers = {k: (float(v) if math.isfinite(v) else None) for k, v in _numbers(m).items()}
    return {**numbers, "n": m.n, "unit": m.unit}


def rate(successes: int, n: int) -> Metric:
    """A fraction with its Wilson score interval; NaN where nothing was tried."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 <= successes <= n")
    if n == 0:
        return Metric(math.nan, 0.0, 1.0, 0, "fraction")
    p, z2 = successes / n, _Z95 * _Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # Rounding must not push the bound past the rate itself at 0 and 1.
    return Metric(p, min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half)), n, "fraction")


def percentile(samples: ArrayLike, q: float, unit: str = "ms") -> Metric:
    """The q-th percentile with a distribution-free 95 % interval from order statistics."""
    x = np.sort(np.asarray(samples, np.float64))
    n = len(x)
    if n == 0:
        return Metric(math.nan, math.nan, math.nan, 0, unit)
    p = q / 100.0
    half = _Z95 * math.sqrt(n * p * (1 - p))
    low, high = max(0, math.floor(n * p - half)), min(n - 1, math.ceil(n * p + half))
    return Metric(float(np.percentile(x, q)), float(x[low]), float(x[high]), n, unit)


def package_version() -> str:
    try:
        return version("sinew-robotics")
    except PackageNotFoundError:
        return "unknown"


def machine() -> str:
    """Processor, usable cores and system, e.g. 'AMD EPYC 7B13, 2 cores, Linux x86_64'."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{_processor()}, {cores} cores, {platform.system()} {platform.machine()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def _numbers(m: Metric) -> dict[str, float]:
    return {"value": m.value, "low": m.low, "high": m.high}
