"""Physics verdicts of grasps all over one object, tested once and looked up ever after."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sinew_policies.common.errors import DataError
from sinew_policies.common.jaw import opening_for
from sinew_policies.common.types import F64
from sinew_sim.floating.antipodal import ContactPairs, Surface, sample_pairs, spread
from sinew_sim.floating.frames import grasp_poses, orthogonal_unit, rotate_about
from sinew_sim.floating.label import GraspTester, LabelSettings, Outcome
from sinew_sim.objects.model import ObjectModel

N_PAIRS = 60
N_ROLLS = 4
_SURFACE_POINTS = 1500
# A tested pair vouches for pairs whose two contacts lie within this 6-D distance.
_REACH_M = 0.03


@dataclass(frozen=True)
class ObjectGrasps:
    """K contact pairs of one object, each tried with R approach directions around its closing axis."""

    pairs: ContactPairs  # object frame
    approach: F64  # (K, R, 3) unit
    outcome: NDArray[np.int8]  # (K, R) `Outcome` values
    content_hash: str

    @cached_property
    def _tree(self) -> cKDTree:
        both = np.concatenate(
            [
                np.concatenate([self.pairs.contact, self.pairs.opposite], axis=1),
                np.concatenate([self.pairs.opposite, self.pairs.contact], axis=1),
            ]
        )
        return cKDTree(both)

    def nearest(self, pairs: ContactPairs) -> NDArray[np.int64]:
        """Tested pair (P,) that vouches for each of `pairs`, -1 where none is near enough."""
        if len(self.pairs) == 0 or len(pairs) == 0:
            return np.full(len(pairs), -1, np.int64)
        distance, at = self._tree.query(np.concatenate([pairs.contact, pairs.opposite], axis=1))
        return np.where(distance <= _REACH_M, at % len(self.pairs), -1)

    def verdict(self, tested: NDArray[np.int64], approach: F64) -> NDArray[np.int8]:
        """1 holds, 0 fails, -1 unknown, for tested pairs (P,) approached along (P, 3), object frame.

        The nearest tested approach decides. Where the bare hand hit the object there, the pair's other
        approaches do: whether the hand fits is for the caller's exact collision check to say.
        """
        safe = np.maximum(tested, 0)
        if len(self.pairs) == 0:
            return np.full(len(tested), -1, np.int8)
        roll = np.argmax(np.einsum("prc,pc->pr", self.approach[safe], approach), axis=1)
        here = self.outcome[safe, roll]
        held = (self.outcome == Outcome.HELD.value).sum(axis=1)
        failed = ((self.outcome == Outcome.DROPPED.value) | (self.outcome == Outcome.MISSED.value)).sum(axis=1)
        elsewhere = np.where(held > failed, 1, np.where(failed > 0, 0, -1))[safe]
        out = np.where(here == Outcome.HELD.value, 1, np.where(here == Outcome.COLLISION.value, elsewhere, 0))
        return np.where(tested < 0, -1, out).astype(np.int8)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                contact=self.pairs.contact,
                direction=self.pairs.direction,
                width_m=self.pairs.width_m,
                quality=self.pairs.quality,
                approach=self.approach,
                outcome=self.outcome,
                content_hash=np.frombuffer(self.content_hash.encode(), np.uint8),
            )
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> "ObjectGrasps":
        """Raises DataError for a file that is not one of ours."""
        try:
            with np.load(path, allow_pickle=False) as f:
                pairs = ContactPairs(
                    f["contact"], f["direction"], f["width_m"], f["quality"], np.arange(len(f["contact"]))
                )
                return ObjectGrasps(pairs, f["approach"], f["outcome"], f["content_hash"].tobytes().decode("ascii"))
        except (OSError, KeyError, ValueError, BadZipFile) as fault:
            raise DataError(
                f"grasp labels {path} cannot be read ({fault}); delete the file to have it made again"
            ) from fault


def grade_object(
    obj: ObjectModel,
    rng: np.random.Generator,
    *,
    n_pairs: int = N_PAIRS,
    n_rolls: int = N_ROLLS,
    settings: LabelSettings | None = None,
) -> ObjectGrasps:
    """Samples pairs over the whole object and tests each with `n_rolls` approaches, evenly around."""
    pairs = sample_pairs(Surface(obj.vertices, obj.faces), _SURFACE_POINTS, rng)
    pairs = pairs.take(spread(pairs, n_pairs, rng))
    k = len(pairs)
    approach = np.zeros((k, n_rolls, 3))
    outcome = np.zeros((k, n_rolls), np.int8)
    if k:
        tester = GraspTester(obj, settings)
        start = orthogonal_unit(pairs.direction, rng.normal(size=(k, 3)))
        for r in range(n_rolls):
            approach[:, r] = rotate_about(pairs.direction, start, np.full(k, 2.0 * np.pi * r / n_rolls))
            poses = grasp_poses(pairs.contact, pairs.direction, approach[:, r], pairs.width_m)
            for i in range(k):
                outcome[i, r] = tester.test(poses[i], opening_for(float(pairs.width_m[i]))).value
    return ObjectGrasps(pairs, approach, outcome, obj.content_hash())
