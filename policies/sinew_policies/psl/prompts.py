"""From a navigation goal in words to the text that CLIP's text tower reads."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sinew_policies.common.errors import ConfigError, DataError, name_hint
from sinew_policies.common.types import F32

CATEGORY_TEMPLATE = "{cat}"
OBJECTNAV_CATEGORIES = ("chair", "bed", "plant", "toilet", "tv_monitor", "sofa")  # HM3D ObjectNav

TextMode = Literal["intrinsic", "extrinsic", "both"]
TEXT_MODES: tuple[TextMode, ...] = ("intrinsic", "extrinsic", "both")

_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|approx|ca|no|vs|mr|mrs|dr|st)|\b[A-Za-z])$", re.IGNORECASE)


def category_prompt(category: str, template: str = CATEGORY_TEMPLATE) -> str:
    """Prompt of a category such as "tv_monitor"; underscores are read as spaces.

    Raises ConfigError for a template without {cat} or with other fields, DataError for an empty category.
    """
    words = category.replace("_", " ").strip()
    if not words:
        raise DataError("the goal category is empty; give a word such as 'chair'")
    try:
        text = template.format(cat=words)
    except (KeyError, IndexError, ValueError) as fault:
        raise ConfigError(
            f"prompt template '{template}' cannot be filled ({fault}); its only field is {{cat}}"
        ) from fault
    if words not in text:
        raise ConfigError(f"prompt template '{template}' does not contain {{cat}}; write for example 'a {{cat}}'")
    return text


def instance_texts(intrinsic: str, extrinsic: str, mode: str = "both") -> tuple[str, ...]:
    """The sentences that describe an instance: the first of its own look, the first of its surroundings, or both.

    Both are embedded one by one and averaged by `average_embedding`. Extrinsic text describes neighbours, so
    "intrinsic" alone can be the better choice. Raises ConfigError for an unknown mode, DataError where the text
    that the mode needs is empty.
    """
    match mode:
        case "intrinsic":
            wanted = {"intrinsic": intrinsic}
        case "extrinsic":
            wanted = {"extrinsic": extrinsic}
        case "both":
            wanted = {"intrinsic": intrinsic, "extrinsic": extrinsic}
        case _:
            raise ConfigError(f"there is no text mode '{mode}'; {name_hint(mode, TEXT_MODES)}")
    return tuple(first_sentence(text, f"{name} attributes") for name, text in wanted.items())


def first_sentence(text: str, what: str = "text") -> str:
    """The first sentence without its full stop; "1.5 m" and "e.g. a" do not end one.

    Raises DataError naming `what` where there is none.
    """
    flat = " ".join(text.split())
    for end in _SENTENCE_END.finditer(flat):
        head = flat[: end.start()]
        if head and not (end.group() == "." and _ABBREVIATION.search(head)):
            return head
    if not flat.strip(".!? "):
        raise DataError(f"the {what} are empty ({text!r}); expected a sentence that describes the goal")
    return flat.rstrip(".!? ")


def average_embedding(embeddings: ArrayLike) -> F32:
    """One goal (1, D) from the embeddings (n, D) of n sentences: their mean, as CLIP gave them.

    Raises DataError for another shape or values that are not finite.
    """
    e = np.asarray(embeddings, np.float32)
    if e.ndim != 2 or len(e) == 0 or not np.isfinite(e).all():
        raise DataError(
            f"text embeddings have shape {e.shape}; expected (n, D) of finite numbers, one per sentence"
        )
    return e.mean(0, keepdims=True)


def instance_key(scene_id: str, goal_object_id: str | int) -> str:
    """Key of an instance's cached embedding: `<sceneShortId>_<goal_object_id>`.

    The short id of "hm3d/val/00800-TEEsavR23oF/TEEsavR23oF.basis.glb" is "TEEsavR23oF".
    """
    short = scene_id.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].split(".", 1)[0].rsplit("-", 1)[-1]
    if not short or not str(goal_object_id):
        raise DataError(f"scene '{scene_id}' and object '{goal_object_id}' make no key; both must be named")
    return f"{short}_{goal_object_id}"


def category_prompts(
    categories: Sequence[str] = OBJECTNAV_CATEGORIES, template: str = CATEGORY_TEMPLATE
) -> tuple[str, ...]:
    """Prompts of several categories, such as those that goal-view entropy is taken over."""
    return tuple(category_prompt(c, template) for c in categories)
