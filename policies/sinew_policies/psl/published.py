"""The published policy as the trainer sees it."""

from collections.abc import Mapping

from torch import Tensor

from sinew_policies.psl.actor_critic import ActorCritic, Evaluation
from sinew_policies.psl.network import Observation, PSLPolicy


class PublishedActorCritic(ActorCritic):
    """Trains everything of a `PSLPolicy` but CLIP.

    Observations: `frames` (T, N, H, W, 3) uint8 RGB, `goal` (T, N, views, code) and, where the environment knows
    it, `image_code` (T, N, code), which spares CLIP's nine tenths of the computation.
    """

    def __init__(self, policy: PSLPolicy) -> None:
        super().__init__()
        self.policy, self.config = policy, policy.config

    def initial_state(self, n_envs: int) -> Tensor:
        return self.policy.initial_state(n_envs)

    def forward(
        self, observations: Mapping[str, Tensor], previous_actions: Tensor, masks: Tensor, state: Tensor
    ) -> Evaluation:
        seen = Observation(observations["frames"], observations["goal"], observations.get("image_code"))
        out = self.policy.unroll(seen, state, previous_actions, masks)
        return Evaluation(out.log_probs, out.value.squeeze(-1), out.state)
