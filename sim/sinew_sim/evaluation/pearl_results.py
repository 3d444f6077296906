"""What one job of an evaluation found, and the files in which an interrupted evaluation keeps it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sinew_policies.common.report import Row
from sinew_sim.evaluation.pearl_scores import Estimate


@dataclass(frozen=True)
class StageResult:
    rows: tuple[Row, ...]
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # (how many, of how many)


@dataclass(frozen=True)
class Kept:
    """Results of jobs that are done, one file each, under a name made of everything that decides the result."""

    folder: Path | None

    def load(self, job: object) -> StageResult | None:
        """None where it is not there, or was written by a crash."""
        file = self._file(job)
        if file is None or not file.is_file():
            return None
        try:
            content = json.loads(file.read_text())
            estimates = {
                name: Estimate(e["group"], e["value"], np.array(e["replicates"], np.float64), e["n"])
                for name, e in content["estimates"].items()
            }
            counts = {name: (int(k), int(n)) for name, (k, n) in content["counts"].items()}
            return StageResult(tuple(content["rows"]), estimates, counts)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, job: object, result: StageResult) -> None:
        file = self._file(job)
        if file is None:
            return
        content = {
            "rows": [dict(row) for row in result.rows],
            "estimates": {
                name: {"group": e.group, "value": e.value, "replicates": e.replicates.tolist(), "n": e.n}
                for name, e in result.estimates.items()
            },
            "counts": dict(result.counts),
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(content))
        partial.replace(file)

    def _file(self, job: object) -> Path | None:
        if self.folder is None:
            return None
        return self.folder / f"{hashlib.sha256(repr(job).encode()).hexdigest()[:16]}.json"
