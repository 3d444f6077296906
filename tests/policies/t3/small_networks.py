"""Networks small enough to test with, and smooth images to feed them."""

import numpy as np
import torch

from sinew_policies.common.seeds import stream
from sinew_policies.common.types import U8
from sinew_policies.t3.config import EncoderConfig, HeadConfig, T3Config, TrunkConfig
from sinew_policies.t3.network import T3

HEADS = {
    "cls_cnc": HeadConfig("mlp", 6),
    "variance_estimation": HeadConfig("mlp", 1, pool="global"),
    "pose_estimation_6d_mini": HeadConfig("pose", 9),
    "pose_estimation_3d": HeadConfig("pose", 3),
    "slip": HeadConfig("two_tower_mlp", 2, pool="global"),
    "embedding": HeadConfig("pool", pool="global"),
}


def config(
    width: int = 32,
    sensors: tuple[str, ...] = ("mini", "digit"),
    heads: dict[str, HeadConfig] | None = None,
    masking: float | None = None,
    depth: int = 1,
) -> T3Config:
    return T3Config(
        EncoderConfig(width, depth, 2, masking=masking),
        TrunkConfig(width, 2, 2),
        sensors,
        HEADS if heads is None else heads,
    )


def network(c: T3Config | None = None, seed: int = 0) -> T3:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = T3(config() if c is None else c)
        for name, buffer in net.named_buffers():  # running statistics that do something
            if name.endswith("running_mean"):
                buffer.normal_(0.0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return net.eval()


def images(n: int = 2, seed: int = 0) -> torch.Tensor:
    """(n, 3, 224, 224) normal noise."""
    return torch.randn(n, 3, 224, 224, generator=torch.Generator().manual_seed(seed))


def frame(
    seed: int = 0, size: tuple[int, int] = (60, 80), mean: tuple[float, float, float] = (0.42, 0.44, 0.442)
) -> U8:
    """(H, W, 3) with a colour of the whole and some texture."""
    noise = stream(seed, "frame").normal(0.0, 0.05, (*size, 3))
    return np.clip(255 * (np.array(mean) + noise), 0, 255).astype(np.uint8)
