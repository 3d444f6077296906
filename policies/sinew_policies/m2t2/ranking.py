"""One score per point: which query a contact belongs to and how good it is."""

import torch
from torch import Tensor

from sinew_policies.m2t2.decode import GraspCandidates, candidates_at
from sinew_policies.m2t2.network import M2T2, M2T2Output


def ranked_candidates(
    network: M2T2, output: M2T2Output, points: Tensor, item: int = 0, *, limit: int | None = None
) -> GraspCandidates:
    """Candidates of cloud `item`, best first, each contact once, for its best query.

    The confidence is objectness times mask probability; with a dense head, times the square root of the point's
    own score, so that both must agree. points (N, 3) as in `decode_grasps`; at most `limit` are decoded.
    """
    c = network.config
    last = output.decoder.predictions[-1]
    mask = last.grasp_masks[item].float().sigmoid()  # (Q, N)
    score = mask
    if last.objectness is not None:
        objectness = last.objectness[item].float().sigmoid()
        score = torch.where(objectness[:, None] > c.object_threshold, mask * objectness[:, None], 0.0)
    best, query = score.max(0)
    inside = (mask.gather(0, query[None])[0] > c.mask_threshold) & (best > 0)
    if output.point_logits is not None:
        best = best * output.point_logits[item].float().sigmoid().sqrt()
    point = torch.nonzero(inside).squeeze(1)
    order = torch.argsort(best[point], descending=True, stable=True)[:limit]
    point = point[order]
    query = query[point]
    return candidates_at(network, output, points, query, point, best[point], torch.unique(query), item)
