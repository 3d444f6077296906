"""From depth image to grasp list without the network: each stage on a rendered scene.

What the network would propose is replaced by seeded candidates on the objects: 1500 decoded contacts on visible
points above the table with random closing and downward approach directions, as many as the predictor
decodes at most.
"""

import numpy as np
from bench.m2t2.scene import Exposure
from bench.timing import Timed, timed, total

from sinew_policies.common import pointcloud
from sinew_policies.common.geometry import HAND_DEPTH_M
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F64, PointCloud
from sinew_policies.m2t2 import postprocess
from sinew_policies.m2t2.sampling import TABLE_HEIGHT_M, choose_points

GROUP = "depth to grasps"
LIMIT_MS = 60.0
CANDIDATES = 1500
QUERIES = 12


def run(exposure: Exposure, *, repeats: int, seed: int) -> list[Timed]:
    cloud = _cloud(exposure)
    poses, width_m, confidence, query, contacts, objectness = _candidates(cloud, seed)
    masks = stream(seed, "masks").random((QUERIES, 2048)).astype(np.float32)
    ranked = postprocess.rank_grasps(poses, width_m, confidence, query, contacts, objectness)

    def stage(name: str, call) -> Timed:  # type: ignore[no-untyped-def]
        return timed(GROUP, name, call, repeats=repeats)

    parts = [
        stage("deproject and crop 640x480", lambda: _cloud(exposure)),
        stage("validate", lambda: pointcloud.validate_cloud(cloud)),
        stage("choose 2048 points", lambda: choose_points(cloud.xyz, 2048, stream(seed, "points"))),
        stage("assign points to queries", lambda: postprocess.assign_points(masks, np.ones(QUERIES, bool), 0.3)),
        stage(
            f"rank and suppress {CANDIDATES}",
            lambda: postprocess.rank_grasps(poses, width_m, confidence, query, contacts, objectness),
        ),
        stage(
            f"refine and filter {len(ranked)} against {len(cloud)} points",
            lambda: postprocess.filter_grasps(ranked, cloud.xyz),
        ),
    ]
    return [*parts, total(GROUP, "everything but the network", parts, LIMIT_MS)]


def _cloud(exposure: Exposure) -> PointCloud:
    return pointcloud.from_depth(exposure.frame, exposure.T_base_cam, bounds=pointcloud.NETWORK_VIEW)


def _candidates(cloud: PointCloud, seed: int) -> tuple[F64, F64, F64, np.ndarray, F64, F64]:
    g = stream(seed, "candidates")
    high = np.flatnonzero(cloud.xyz[:, 2] > TABLE_HEIGHT_M)
    contacts = cloud.xyz[g.choice(high, CANDIDATES, replace=len(high) < CANDIDATES)].astype(np.float64)
    yaw = g.uniform(0.0, 2.0 * np.pi, CANDIDATES)
    x = np.stack([np.cos(yaw), np.sin(yaw), np.zeros(CANDIDATES)], axis=1)
    z = g.normal(0.0, 0.4, (CANDIDATES, 3)) - [0.0, 0.0, 1.0]
    z -= (z * x).sum(axis=1, keepdims=True) * x
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    width_m = g.uniform(0.01, 0.07, CANDIDATES)
    T = np.zeros((CANDIDATES, 4, 4))
    T[:, :3, 0], T[:, :3, 1], T[:, :3, 2], T[:, 3, 3] = x, np.cross(z, x), z, 1.0
    T[:, :3, 3] = contacts + 0.5 * width_m[:, None] * x - HAND_DEPTH_M * z
    query = g.integers(0, QUERIES, CANDIDATES)
    return T, width_m, g.random(CANDIDATES), query, contacts, g.random(QUERIES)
