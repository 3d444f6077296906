"""Forward passes of the small and of the published network, beside the same network on plain torch points."""

import torch
from bench.timing import Timed, timed

from sinew_policies.m2t2 import neighbours
from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.network import M2T2, SceneInput
from sinew_policies.m2t2.pointops import reference

GROUP = "forward"
LIMITS_MS = {"small": 300.0, "published": 2000.0}
_PATCHED = ("furthest_point_sample", "ball_query", "three_nn")


def run(xyz: torch.Tensor, *, repeats: int, plain: bool) -> list[Timed]:
    """xyz (1, N, 3) centred, N at least 16384. Random weights: the time does not depend on them."""
    out = []
    for name, config in (("small", M2T2Config.small()), ("published", M2T2Config.published())):
        torch.manual_seed(0)
        network = M2T2(config).eval()
        cloud = xyz[:, : config.n_points].contiguous()
        channels = config.n_feature_channels
        features = torch.zeros(1, config.n_points, channels) if channels else None

        @torch.inference_mode()
        def forward(
            network: M2T2 = network, cloud: torch.Tensor = cloud, features: torch.Tensor | None = features
        ) -> object:
            return network(SceneInput(cloud, features), all_predictions=False)

        out.append(timed(GROUP, name, forward, repeats=repeats, limit_ms=LIMITS_MS[name]))
        if plain:
            fast = {attribute: getattr(neighbours, attribute) for attribute in _PATCHED}
            try:
                for attribute in _PATCHED:
                    setattr(neighbours, attribute, getattr(reference, attribute))
                out.append(timed(f"{GROUP}, torch points", name, forward, repeats=1))
            finally:
                for attribute, function in fast.items():
                    setattr(neighbours, attribute, function)
    return out
