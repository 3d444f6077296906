"""Networks that take no time, for tests."""

from dataclasses import replace

import torch

from sinew_policies.m2t2.config import M2T2Config
from sinew_policies.m2t2.network import M2T2

TINY = M2T2Config(
    n_points=512,
    n_held_points=64,
    radius_0_m=0.05,
    width=0.25,
    token_width=24,
    ffn_width=32,
    n_layers=2,
    n_heads=2,
    n_grasp_queries=5,
    n_place_queries=2,
    action_hidden=16,
)
LANGUAGE = replace(
    TINY,
    n_layers=1,
    n_grasp_queries=1,
    n_place_queries=1,
    n_text_tokens=3,
    text_width=8,
    task_embedding=False,
    n_extra_params=4,
)


def cloud(n: int = 512, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.rand(batch, n, 3, generator=generator) * torch.tensor([0.6, 0.6, 0.1])
    return xyz - xyz.mean(1, keepdim=True)


def tiny(config: M2T2Config = TINY) -> M2T2:
    torch.manual_seed(0)
    network = M2T2(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # something to fold
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, -1.0, 1.0)
    return network.eval()
