"""The PSL policy (arXiv 2403.11650, section 3): semantic perception of frame and goal, layout, memory, action.

z_S = CLIP(frame), z_G = mean of unit goal codes, z_SP = MLP[z_S, z_G], z_O = Linear(layout(frame)); an LSTM over
[z_SP, z_O, previous action] feeds a linear actor and a linear critic. State-dict names follow the published
checkpoint without its outer `actor_critic.`; its second, unused CLIP copy (`net.clip`) has no place here.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sinew_policies.common.errors import DataError
from sinew_policies.psl.clip.network import Clip
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.layout import LayoutEncoder
from sinew_policies.psl.resize import resize_and_crop


@dataclass(frozen=True)
class Observation:
    """What the policy sees; leading dimensions are (B,) for a step and (T, B) for a sequence."""

    frames: Tensor  # (..., H, W, 3) uint8 RGB
    goal: Tensor  # (..., V, code): V views, or one text code; of any length, each is scaled to unit length
    image_code: Tensor | None = None  # (..., code) CLIP's code of these frames where it is already known
    layout_crops: Tensor | None = None  # (..., 3, S, S) in 0..255, what the layout branch sees instead of its own


@dataclass(frozen=True)
class PolicyOutput:
    log_probs: Tensor  # (..., n_actions)
    value: Tensor  # (..., 1)
    state: Tensor  # (B, 2 * rnn_layers, rnn_hidden) after the last step: h of each layer, then c of each
    image_code: Tensor  # (..., code) z_S
    layout_features: Tensor  # (..., layout_features)
    layout_code: Tensor  # (..., layout_code) z_O
    fused: Tensor  # (..., fusion_code) z_SP
    rnn_input: Tensor  # (..., rnn_input)


class PSLPolicy(nn.Module):
    """CLIP is frozen: never in training mode, no gradient. Everything else is trainable."""

    def __init__(self, config: PSLConfig) -> None:
        super().__init__()
        self.config = config
        self.net = _Net(config)
        self.action_distribution = _Actor(config.rnn_hidden, config.n_actions)
        self.critic = _Critic(config.rnn_hidden)

    @property
    def clip(self) -> Clip:
        return self.net.visual_encoder

    def initial_state(self, batch: int) -> Tensor:
        """(B, 2 * rnn_layers, rnn_hidden) of zeros, where the weights are."""
        return self.critic.fc.weight.new_zeros(batch, 2 * self.config.rnn_layers, self.config.rnn_hidden)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """CLIP's codes (B, code) of frames (B, H, W, 3) uint8; depends on nothing but the frame, so keep it."""
        return self.net.encode_frames(frames)

    def forward(
        self, observation: Observation, state: Tensor, previous_actions: Tensor, masks: Tensor
    ) -> PolicyOutput:
        """One step of B environments.

        `state` as `PolicyOutput.state`; `previous_actions` (B,) int64; `masks` (B,) bool, False where an episode
        starts at this step: its state counts as zero and its previous action as none.
        Raises DataError for goals, actions or states of the wrong shape.
        """
        o = observation
        code, crops = (None if x is None else x[None] for x in (o.image_code, o.layout_crops))
        step = Observation(o.frames[None], o.goal[None], code, crops)
        out = self.unroll(step, state, previous_actions[None], masks[None])
        return PolicyOutput(
            **{f.name: out.state if f.name == "state" else getattr(out, f.name)[0] for f in fields(PolicyOutput)}
        )

    def unroll(
        self, observation: Observation, state: Tensor, previous_actions: Tensor, masks: Tensor
    ) -> PolicyOutput:
        """T steps of B environments at once: leading (T, B) everywhere but in `state`, which precedes step 0.

        Same result as T calls of `forward`; the images of all steps go through the encoders as one batch.
        """
        self._check(observation, state, previous_actions, masks)
        steps, batch = masks.shape
        n = steps * batch
        frames = observation.frames.flatten(0, 1)
        if observation.image_code is None:
            image_code = self.encode_frames(frames)
        else:
            image_code = observation.image_code.flatten(0, 1)
        net = self.net
        fused = net.fuse(image_code, observation.goal.flatten(0, 1))
        crops = observation.layout_crops
        layout_crops = net.crop_layout(frames) if crops is None else crops.flatten(0, 1)
        layout_features, layout_code = net.encode_layout(layout_crops)
        taken = torch.where(masks, previous_actions + 1, 0).flatten()
        rnn_input = torch.cat([fused, layout_code, net.prev_action_embedding(taken)], 1)
        memory, state = net.state_encoder(rnn_input.view(steps, batch, -1), state, masks)
        memory = memory.view(n, -1)
        log_probs = F.log_softmax(self.action_distribution.linear(memory), 1)
        value = self.critic.fc(memory)

        def stepwise(x: Tensor) -> Tensor:
            return x.view(steps, batch, -1)

        return PolicyOutput(
            log_probs=stepwise(log_probs),
            value=stepwise(value),
            state=state,
            image_code=stepwise(image_code),
            layout_features=stepwise(layout_features),
            layout_code=stepwise(layout_code),
            fused=stepwise(fused),
            rnn_input=stepwise(rnn_input),
        )

    def train(self, mode: bool = True) -> "PSLPolicy":
        super().train(mode)
        self.clip.eval()
        return self

    def _check(self, observation: Observation, state: Tensor, previous_actions: Tensor, masks: Tensor) -> None:
        c = self.config
        lead = tuple(masks.shape)
        wanted_state = (lead[1], 2 * c.rnn_layers, c.rnn_hidden)
        goal = observation.goal
        if goal.ndim != 4 or tuple(goal.shape[:2]) != lead or goal.shape[3] != c.clip.code or goal.shape[2] < 1:
            raise DataError(
                f"goal codes have shape {tuple(goal.shape)} for (steps, environments) {lead}; expected "
                f"(..., views, {c.clip.code}): a single code is one view, give it as (1, {c.clip.code})"
            )
        if tuple(state.shape) != wanted_state:
            raise DataError(
                f"the memory has shape {tuple(state.shape)}; expected {wanted_state}, see initial_state"
            )
        if tuple(previous_actions.shape) != lead or masks.dtype != torch.bool:
            raise DataError(
                f"previous actions have shape {tuple(previous_actions.shape)}, masks are {masks.dtype} of shape "
                f"{lead}; expected one int64 action and one bool mask for each step and environment"
            )
        if tuple(observation.frames.shape[:2]) != lead:
            raise DataError(
                f"frames have shape {tuple(observation.frames.shape)}; expected "
                f"{(*lead, c.image_height, c.image_width, 3)}"
            )


class _Actor(nn.Module):
    def __init__(self, width: int, n_actions: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, n_actions)
        nn.init.orthogonal_(self.linear.weight, 0.01)  # nearly uniform at first
        nn.init.zeros_(self.linear.bias)


class _Critic(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(width, 1)
        nn.init.orthogonal_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


class _Net(nn.Module):
    def __init__(self, config: PSLConfig) -> None:
        super().__init__()
        self.config = config
        self.visual_encoder = Clip(config.clip).requires_grad_(False).eval()
        self.layout_encoder = LayoutEncoder(config)
        self.layout_policy_mlp = nn.Linear(config.layout_features, config.layout_code)
        self.corr_mapping_module = nn.Sequential(
            nn.Linear(2 * config.clip.code, config.fusion_hidden),
            nn.ReLU(),
            nn.Linear(config.fusion_hidden, config.fusion_code),
        )
        self.prev_action_embedding = nn.Embedding(config.n_actions + 1, config.action_code)  # row 0: none yet
        self.state_encoder = _Memory(config.rnn_input, config.rnn_hidden, config.rnn_layers)

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        c = self.config
        crops = resize_and_crop(frames, c.clip.image_size, c.semantic_kernel, antialias=c.antialias)
        return self.visual_encoder.encode_image(crops)

    def crop_layout(self, frames: Tensor) -> Tensor:
        """What the layout branch sees (B, 3, S, S) of frames (B, H, W, 3)."""
        c = self.config
        return resize_and_crop(frames, c.layout_size, c.layout_kernel, antialias=c.antialias)

    def encode_layout(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, layout_features) of crops (B, 3, S, S), and their code (B, layout_code)."""
        features: Tensor = self.layout_encoder(crops)
        return features, self.layout_policy_mlp(features)

    def fuse(self, image_code: Tensor, goal: Tensor) -> Tensor:
        """Semantic perception of image codes (B, code) and goal codes (B, V, code)."""
        goal_code = F.normalize(goal, dim=-1).mean(1)
        fused: Tensor = self.corr_mapping_module(torch.cat([image_code, goal_code], 1))
        return fused


class _Memory(nn.Module):
    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(width, hidden, layers)
        for name, parameter in self.rnn.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, state: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """x (T, B, width), state (B, 2L, hidden), masks (T, B) to outputs (T, B, hidden) and the last state."""
        # Between resets the steps run as one sequence.
        resets = [t for t in range(1, len(x)) if not bool(masks[t].all())]
        outputs = []
        for start, end in zip([0, *resets], [*resets, len(x)], strict=True):
            kept = torch.where(masks[start][:, None, None], state, 0.0)
            h, c = (part.contiguous() for part in kept.transpose(0, 1).chunk(2))
            y, (h, c) = self.rnn(x[start:end], (h, c))
            state = torch.cat([h, c]).transpose(0, 1)
            outputs.append(y)
        return torch.cat(outputs), state.contiguous()
