"""The PSL network as the trainer's actor-critic: same network, weights without the frozen CLIP."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sinew_policies.psl.actor_critic import ActorCritic, Evaluation
from sinew_policies.psl.augment import augmented_crops
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.network import Observation, PSLPolicy
from sinew_policies.psl.weights import load_trainable, trainable


class TrainablePolicy(ActorCritic):
    """Observations: `frames` (T, N, H, W, 3) uint8 RGB, `goal` (T, N, V, code) and, where the environment keeps
    CLIP's codes by pose, `image_code` (T, N, code), which spares nine tenths of the computation.

    Its state dict is the policy's without CLIP, so that what training writes is a weights folder for
    `Predictor.from_pretrained(folder, clip=…)`.
    """

    def __init__(self, policy: PSLPolicy) -> None:
        super().__init__()
        self.policy = policy
        self.config: PSLConfig = policy.config

    def initial_state(self, n_envs: int) -> Tensor:
        return self.policy.initial_state(n_envs)

    def forward(
        self, observations: Mapping[str, Tensor], previous_actions: Tensor, masks: Tensor, state: Tensor
    ) -> Evaluation:
        o = observations
        seen = Observation(o["frames"], o["goal"], o.get("image_code"), o.get("layout_crops"))
        out = self.policy.unroll(seen, state, previous_actions, masks)
        return Evaluation(out.log_probs, out.value.squeeze(-1), out.state)

    def augment(self, observations: Mapping[str, Tensor], draw: np.random.Generator) -> Mapping[str, Tensor]:
        """Adds `layout_crops` (T, N, 3, S, S); CLIP, which is frozen, sees the frames as they are."""
        return {**observations, "layout_crops": augmented_crops(observations["frames"], self.config, draw)}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        return trainable(self.policy.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Always strict about everything but CLIP, which stays as it is.

        Raises CheckpointError where `state_dict` does not fit.
        """
        return load_trainable(self.policy, state_dict, "the training state")
