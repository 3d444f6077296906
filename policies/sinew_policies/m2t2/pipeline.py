"""From a cloud to ranked, checked grasps: the one chain that the ROS node and every evaluation run."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from sinew_policies.common.pointcloud import WORKSPACE, validate_cloud
from sinew_policies.common.types import F64, GraspSet, PointCloud
from sinew_policies.m2t2.postprocess import PostprocessConfig, filter_grasps
from sinew_policies.m2t2.predictor import Predictor


@dataclass(frozen=True)
class Proposal:
    """What to propose grasps for. `workspace` (2, 3): corners in the cloud's frame that contacts must lie in."""

    workspace: F64 = field(default_factory=lambda: np.asarray(WORKSPACE, np.float64))
    max_candidates: int = 200
    margin_m: float = 0.02  # contacts this far outside the workspace are accepted: noise moves points

    def postprocess(self) -> PostprocessConfig:
        lower = tuple(float(v) for v in self.workspace[0] - self.margin_m)
        upper = tuple(float(v) for v in self.workspace[1] + self.margin_m)
        return PostprocessConfig(workspace=(lower, upper), max_grasps=self.max_candidates)  # type: ignore[arg-type]


def propose(
    predictor: Predictor, cloud: PointCloud, proposal: Proposal | None = None, *, seed: int = 0
) -> GraspSet:
    """Ranked grasps of `cloud` (base frame, robot removed), each rejected one with its reason.

    Raises CloudError for a cloud that is empty, all NaN or of wrong shape. An empty result is no error.
    """
    proposal = proposal or Proposal()
    cloud = validate_cloud(cloud)
    raw = predictor.grasps(cloud, seed=seed)
    started = time.perf_counter()
    grasps = filter_grasps(raw.grasps[: proposal.max_candidates], cloud.xyz, proposal.postprocess())
    filtering_ms = (time.perf_counter() - started) * 1e3
    return replace(raw, grasps=grasps, stage_ms=(*raw.stage_ms, ("filter", filtering_ms)))
