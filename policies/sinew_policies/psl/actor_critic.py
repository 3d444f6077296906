"""What the trainer needs of a policy network, and a small network of PSL's shape for small environments."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sinew_policies.common.errors import ConfigError


@dataclass(frozen=True)
class Evaluation:
    logits: Tensor  # (T, N, actions)
    values: Tensor  # (T, N)
    state: Tensor  # (N, ...) recurrent state after the last step


class ActorCritic(nn.Module, ABC):
    """A recurrent policy with a critic over sequences of T steps in N environments; one step is T = 1."""

    config: object  # dataclass saved beside the weights

    @abstractmethod
    def initial_state(self, n_envs: int) -> Tensor:
        """(N, ...) zeros."""

    @abstractmethod
    def forward(
        self, observations: Mapping[str, Tensor], previous_actions: Tensor, masks: Tensor, state: Tensor
    ) -> Evaluation:
        """`observations` each (T, N, ...), `previous_actions` (T, N) int64, `masks` (T, N) bool, `state` (N, ...).

        Where a mask is False an episode starts: that step sees a zero state and no previous action.
        """

    def augment(self, observations: Mapping[str, Tensor], draw: np.random.Generator) -> Mapping[str, Tensor]:
        """The observations (T, N, ...) as an update sees them; rollouts and evaluation see them unchanged."""
        return observations


@dataclass(frozen=True)
class SmallPolicyConfig:
    columns: int  # of a view and of a goal view
    channels: int  # of a column
    actions: int
    column_code: int = 16  # in which columns are compared with the goal
    code: int = 48  # width of view, goal and fused codes
    action_code: int = 8
    hidden: int = 96

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigError(f"{field.name} is {getattr(self, field.name)}; expected at least 1")


class SmallPolicy(ActorCritic):
    """Rows of pixels through PSL's stages at small width.

    Like the published network: one encoder codes view and goal (here column by column), a small perception module
    fuses them (here with the cosine of every column to the goal), its code is joined with a second, goal-free code
    of the view and the previous action, and given to an LSTM with linear actor and critic.
    Observations: `view` and `goal` (T, N, columns, channels). State (N, 2, hidden) = [h, c].
    """

    def __init__(self, config: SmallPolicyConfig) -> None:
        super().__init__()
        self.config: SmallPolicyConfig = config
        c = config
        pixels = c.columns * c.channels
        self.column = nn.Sequential(
            nn.Linear(c.channels, c.column_code), nn.ReLU(), nn.Linear(c.column_code, c.column_code)
        )
        self.goal_weights = nn.Parameter(torch.zeros(c.columns))  # of the goal's columns, before softmax
        self.perception = nn.Sequential(
            nn.Linear(pixels + c.columns + c.column_code, c.code), nn.ReLU(), nn.Linear(c.code, c.code)
        )
        self.layout = nn.Sequential(nn.Linear(pixels, c.code), nn.ReLU(), nn.Linear(c.code, c.code // 2))
        self.action = nn.Embedding(c.actions + 1, c.action_code)  # 0 = an episode starts
        self.lstm = nn.LSTMCell(c.code + c.code // 2 + c.action_code, c.hidden)
        self.actor = nn.Linear(c.hidden, c.actions)
        self.critic = nn.Linear(c.hidden, 1)
        for name, parameter in self.lstm.named_parameters():
            (nn.init.zeros_ if "bias" in name else nn.init.orthogonal_)(parameter)
        for head, gain in ((self.actor, 0.01), (self.critic, 1.0)):
            nn.init.orthogonal_(head.weight, gain)
            nn.init.zeros_(head.bias)

    def initial_state(self, n_envs: int) -> Tensor:
        return self.actor.weight.new_zeros(n_envs, 2, self.config.hidden)

    def forward(
        self, observations: Mapping[str, Tensor], previous_actions: Tensor, masks: Tensor, state: Tensor
    ) -> Evaluation:
        view, weights = observations["view"], self.goal_weights.softmax(0)
        goal = F.normalize(torch.einsum("tnwc,w->tnc", self.column(observations["goal"]), weights), dim=-1)
        likeness = torch.einsum("tnwc,tnc->tnw", F.normalize(self.column(view), dim=-1), goal)  # cosines
        view = view.flatten(2)
        fused = self.perception(torch.cat([view, likeness, goal], -1))
        action = self.action(torch.where(masks, previous_actions + 1, 0))
        x = torch.cat([F.relu(fused), F.relu(self.layout(view)), action], -1)  # (T, N, ...)
        keep = masks.to(x.dtype).unsqueeze(-1)
        h, c = state.unbind(1)
        steps = []
        for t in range(len(x)):
            h, c = self.lstm(x[t], (h * keep[t], c * keep[t]))
            steps.append(h)
        out = torch.stack(steps)  # (T, N, hidden)
        return Evaluation(self.actor(out), self.critic(out).squeeze(-1), torch.stack([h, c], 1))
