"""A trained policy behind one call: RGB frame and goal in, action out."""

from collections.abc import Collection, Hashable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sinew_policies.common.compute_device import choose_device
from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.seeds import stream
from sinew_policies.common.types import F32
from sinew_policies.psl.actions import Action
from sinew_policies.psl.clip.folding import folded
from sinew_policies.psl.clip.tokenizer import Tokenizer
from sinew_policies.psl.config import PSLConfig
from sinew_policies.psl.expansion import TEMPERATURE, expand
from sinew_policies.psl.network import Observation, PSLPolicy
from sinew_policies.psl.prompts import average_embedding
from sinew_policies.psl.support_set import SupportSet
from sinew_policies.psl.visual_cache import VisualCache
from sinew_policies.psl.weights import load_policy

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EVALUATION_SEED = 200  # the published evaluation samples its actions under this seed

_SMALLEST_NORM = 1e-6


@dataclass(frozen=True)
class Decision:
    """What the policy chose in each of B environments."""

    actions: NDArray[np.int64]  # (B,) see `actions.Action`; Habitat numbers the looks otherwise
    log_probs: F32  # (B, n_actions) of the network, before any action was forbidden
    values: F32  # (B,) expected return

    @property
    def action(self) -> Action:
        """The action of the only environment."""
        if len(self.actions) != 1:
            raise DataError(f"there are {len(self.actions)} environments; read `actions`")
        return Action(int(self.actions[0]))


class Predictor:
    """Holds a network for inference; each run through an environment is a `Session` with a memory of its own.

    The policy that it was made from stays as it was; what is trained, or saved with CLIP, is that one.
    """

    def __init__(
        self,
        policy: PSLPolicy,
        *,
        device: str = "auto",
        precision: str = "float32",
        cache: int = 4096,
        vocabulary: Path | None = None,
    ) -> None:
        """`precision` of the CLIP tower alone; `cache`: image codes kept by pose; `vocabulary`: see Tokenizer.

        Raises ConfigError for an unknown device or precision.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"unknown precision '{precision}'; {name_hint(precision, PRECISIONS)}")
        self.device = choose_device(device)
        visual = policy.clip.visual
        # A copy in which the faster tower stands for the tower itself: neither is held twice.
        own = deepcopy(policy, {id(visual): folded(visual, PRECISIONS[precision])})
        self.policy = own.requires_grad_(False).to(self.device).eval()
        self.config: PSLConfig = policy.config
        self.cache = VisualCache(cache)
        self._vocabulary = vocabulary

    @staticmethod
    def from_pretrained(
        path: Path | str,
        clip: Path | str | None = None,
        *,
        device: str = "auto",
        precision: str = "float32",
        vocabulary: Path | None = None,
    ) -> "Predictor":
        """A weights folder or the published checkpoint; `clip`: your CLIP RN50 file, if the weights hold none.

        Raises CheckpointError where one is missing, damaged or does not fit.
        """
        return Predictor(load_policy(path, clip=clip), device=device, precision=precision, vocabulary=vocabulary)

    @staticmethod
    def random(config: PSLConfig | None = None, seed: int = 0, *, precision: str = "float32") -> "Predictor":
        """An untrained network on the CPU, for tests of what surrounds it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Predictor(PSLPolicy(config or PSLConfig()), device="cpu", precision=precision)

    @torch.inference_mode()
    def text_codes(self, texts: str | Sequence[str], *, truncate: bool = False) -> F32:
        """CLIP's codes (n, code) of n texts.

        Raises MissingExtra without the vocabulary, DataError for a text that is empty or, unless `truncate`, too
        long.
        """
        tokens = self._tokenizer.encode(texts, context_length=self.config.clip.context_length, truncate=truncate)
        return _numpy(self.policy.clip.encode_text(torch.from_numpy(tokens).to(self.device)))

    def text_goal(
        self,
        texts: str | Sequence[str],
        support: SupportSet | None = None,
        *,
        temperature: float = TEMPERATURE,
        k: int | None = None,
        truncate: bool = False,
    ) -> F32:
        """Goal (1, code) of one description in one text or several, such as `prompts.instance_texts` gives.

        The policy was trained with image codes, and text codes lie elsewhere: a `support` set turns the one into
        the other (see `expansion.expand` for temperature and k). Raises MissingExtra, DataError and ConfigError as
        `text_codes` and `expand`, and DataError for a support set of another CLIP network.
        """
        code = average_embedding(self.text_codes(texts, truncate=truncate))
        if support is None:
            return code
        if support.clip != self.clip_identity:
            raise DataError(
                f"the support set was embedded by CLIP {support.clip}, this policy sees through "
                f"{self.clip_identity}; embed its pictures again with this predictor"
            )
        return expand(code, support.vectors, temperature=temperature, k=k)

    @torch.inference_mode()
    def image_goal(self, views: ArrayLike) -> F32:
        """Goal (V, code) of V views (V, H, W, 3), or of one (H, W, 3), uint8 RGB of any size.

        Raises DataError for another type or shape.
        """
        images = np.asarray(views)
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or 0 in images.shape:
            raise DataError(
                f"goal views are {images.dtype} of shape {images.shape}; expected uint8 RGB of shape (V, H, W, 3)"
            )
        return _numpy(self.policy.encode_frames(torch.from_numpy(np.ascontiguousarray(images)).to(self.device)))

    def start(
        self,
        goals: ArrayLike,
        *,
        seed: int = EVALUATION_SEED,
        greedy: bool = False,
        forbidden: Collection[Action | int] = (),
    ) -> "Session":
        """Begins an episode in B environments.

        `goals` (V, code) for one environment, (B, V, code) for several. Actions are sampled, as in the published
        evaluation, each environment from a stream of its own; `greedy` takes the likeliest. `forbidden` actions are
        never chosen: a robot without a tilting camera forbids both looks. Raises DataError for goals of another
        shape, not finite or of zero length, ConfigError where no action remains.
        """
        return Session(self, goals, seed, greedy, forbidden)

    @torch.inference_mode()
    def encode_frames(self, frames: Tensor, pose_keys: Sequence[Hashable | None] | None = None) -> Tensor:
        """CLIP's codes (B, code) of checked frames on the predictor's device, known poses from the cache."""
        if pose_keys is None:
            return self.policy.encode_frames(frames)
        return self.cache.codes(pose_keys, frames, self.policy.encode_frames)

    @cached_property
    def clip_identity(self) -> str:
        """What a support set of this CLIP's codes is marked with."""
        return self.policy.clip.identity()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self._vocabulary)


class Session:
    """One run of the policy: its goal, memory, previous actions and random streams."""

    def __init__(
        self,
        predictor: Predictor,
        goals: ArrayLike,
        seed: int,
        greedy: bool,
        forbidden: Collection[Action | int],
    ) -> None:
        self._predictor, self._greedy = predictor, greedy
        config = predictor.config
        self._goals = _checked_goals(goals, config.clip.code).to(predictor.device)  # (B, V, code)
        self.batch = len(self._goals)
        self._allowed = np.ones(config.n_actions, bool)
        for action in forbidden:
            if int(action) not in range(config.n_actions):
                raise ConfigError(f"forbidden action {int(action)}; expected 0..{config.n_actions - 1}")
            self._allowed[int(action)] = False
        if not self._allowed.any():
            raise ConfigError("every action is forbidden; leave at least one, such as 0 (stop)")
        self._random = [stream(seed, "psl actions", i) for i in range(self.batch)]
        self._state = predictor.policy.initial_state(self.batch)
        self._previous = torch.zeros(self.batch, dtype=torch.int64, device=predictor.device)
        self._running = torch.zeros(self.batch, dtype=torch.bool, device=predictor.device)

    @torch.inference_mode()
    def restart(self, environments: Sequence[int], goals: ArrayLike) -> None:
        """A new episode in some environments: `goals` (n, V, code) for them, memory empty, random streams go on.

        Raises DataError for goals that do not fit, or an environment that is not there.
        """
        new = _checked_goals(goals, self._goals.shape[2])
        bad = [e for e in environments if e not in range(self.batch)]
        if bad or len(new) != len(environments) or new.shape[1:] != self._goals.shape[1:]:
            raise DataError(
                f"restart of environments {list(environments)} with goals of shape {tuple(new.shape)}; expected "
                f"environments within 0..{self.batch - 1} and goals of shape "
                f"{(len(environments), *self._goals.shape[1:])}"
            )
        index = torch.tensor(list(environments), dtype=torch.int64, device=self._goals.device)
        self._goals[index] = new.to(self._goals.device)
        self._running[index] = False

    @torch.inference_mode()
    def step(self, frames: ArrayLike, *, pose_keys: Sequence[Hashable | None] | None = None) -> Decision:
        """Chooses the next action from frames (B, H, W, 3), or (H, W, 3) of one environment, uint8 RGB.

        `pose_keys`: see VisualCache; only for worlds where the same pose gives the same frame. Raises DataError
        for another type, resolution or layout.
        """
        p = self._predictor
        seen = torch.from_numpy(_checked_frames(frames, self.batch, p.config)).to(p.device)
        code = p.encode_frames(seen, pose_keys)
        out = p.policy(Observation(seen, self._goals, code), self._state, self._previous, self._running)
        log_probs = _numpy(out.log_probs)
        actions = np.array([self._choose(row, i) for i, row in enumerate(log_probs)], np.int64)
        self._state = out.state
        self._previous = torch.from_numpy(actions).to(p.device)
        self._running = torch.ones_like(self._running)
        return Decision(actions, log_probs, _numpy(out.value[:, 0]))

    def _choose(self, log_probs: F32, environment: int) -> int:
        if not np.isfinite(log_probs).all():
            raise DataError(
                f"the policy gives {log_probs} for environment {environment}; the weights or the goal are unusable"
            )
        p = np.where(self._allowed, np.exp(log_probs, dtype=np.float64), 0.0)
        if self._greedy:
            return int(np.argmax(p))
        # One number per step, whatever is forbidden: runs stay comparable. The last allowed action takes the rest.
        u = self._random[environment].random()
        chosen = int(np.searchsorted(np.cumsum(p) / p.sum(), u, side="right"))
        return min(chosen, int(np.flatnonzero(self._allowed)[-1]))


def _checked_goals(goals: ArrayLike, code: int) -> Tensor:
    g = np.array(goals, np.float32)
    if g.ndim == 2:
        g = g[None]
    if g.ndim != 3 or g.shape[2] != code or 0 in g.shape:
        raise DataError(
            f"the goal has shape {g.shape}; expected (views, {code}) for one environment or (environments, views, "
            f"{code}); a single code (of shape ({code},)) is given as (1, {code})"
        )
    norms = np.linalg.norm(g, axis=2)
    if not np.isfinite(norms).all() or norms.min() < _SMALLEST_NORM:
        raise DataError(f"the goal's views have lengths {norms.ravel()[:8]}; expected finite and above zero")
    return torch.from_numpy(g)


def _checked_frames(frames: ArrayLike, batch: int, config: PSLConfig) -> NDArray[np.uint8]:
    f = np.asarray(frames)
    if f.ndim == 3:
        f = f[None]
    wanted = (batch, config.image_height, config.image_width, 3)
    if f.shape != wanted or f.dtype != np.uint8:
        hint = (
            "channels lie first; transpose to height, width, channels"
            if f.ndim == 4 and f.shape[1] == 3
            else "resample the camera to this size and the view to 79 degrees horizontally"
            if f.ndim == 4 and f.shape[3] == 3
            else "give RGB without alpha or depth"
        )
        raise DataError(f"frames are {f.dtype} of shape {f.shape}; expected uint8 RGB of shape {wanted}: {hint}")
    return np.ascontiguousarray(f)


def _numpy(x: Tensor) -> F32:
    return x.float().cpu().numpy()
