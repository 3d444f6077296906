"""Our own objects: a seed and an index name one object for ever; convex pieces are known by construction.

Train and test objects differ twice: their random streams are apart, and the families of `TEST_ONLY` appear in
no train pool.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from sinew_policies.common.errors import ConfigError, name_hint
from sinew_policies.common.seeds import stream
from sinew_sim.objects import handles, solids, vessels
from sinew_sim.objects.model import ObjectModel, mass_properties
from sinew_sim.objects.shapes import Shape

Split = Literal["train", "test"]

_BUILDERS: dict[str, Callable[[np.random.Generator], Shape]] = {
    "box": solids.box,
    "cylinder": solids.cylinder,
    "bottle": vessels.bottle,
    "l_extrusion": solids.l_extrusion,
    "bowl": vessels.bowl,
    "superellipsoid": solids.superellipsoid,
    "handle": handles.handle,
    "cup": vessels.cup,
    "prism": solids.prism,
    "blend": solids.blend,
    "mug": vessels.mug,
    "t_extrusion": solids.t_extrusion,
}

FAMILIES: tuple[str, ...] = tuple(_BUILDERS)
TEST_ONLY: tuple[str, ...] = ("mug", "t_extrusion")
TRAIN_FAMILIES: tuple[str, ...] = tuple(f for f in FAMILIES if f not in TEST_ONLY)

MASS_KG = (0.05, 0.8)
FRICTION = (0.3, 1.0)
_DENSEST_KG_M3 = 2600.0


def generate(seed: int, index: int, family: str | None = None, split: Split = "train") -> ObjectModel:
    """Object `index` of `seed`. Without `family` they take turns, over all families in the test split.

    ConfigError for an unknown family or split, and for a family of `TEST_ONLY` in the train split.
    """
    if split not in ("train", "test"):
        raise ConfigError(f"unknown split '{split}'; {name_hint(split, ('train', 'test'))}")
    turn = FAMILIES if split == "test" else TRAIN_FAMILIES
    chosen = turn[index % len(turn)] if family is None else family
    if chosen not in _BUILDERS:
        raise ConfigError(f"unknown object family '{chosen}'; {name_hint(chosen, FAMILIES)}")
    if split == "train" and chosen in TEST_ONLY:
        raise ConfigError(
            f"family '{chosen}' is held out for testing and has no train objects; use split='test' or one of: "
            + ", ".join(TRAIN_FAMILIES)
        )
    rng = stream(seed, "object", split, chosen, index)
    return _finish(_BUILDERS[chosen](rng), f"{split}_{chosen}_{seed}_{index}", chosen, rng)


def train_pool(seed: int, n: int) -> list[ObjectModel]:
    """The first `n` training objects of `seed`, families in turn."""
    return [generate(seed, i) for i in range(n)]


def test_pool(seed: int, n: int) -> list[ObjectModel]:
    """The first `n` objects of `seed` that no training ever sees, held-out families included."""
    return [generate(seed, i, split="test") for i in range(n)]


test_pool.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name


def split_families() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(families of the train split, families that only the test split has)."""
    return TRAIN_FAMILIES, TEST_ONLY


def _finish(shape: Shape, name: str, family: str, rng: np.random.Generator) -> ObjectModel:
    """Moves the origin to the centre of mass and draws mass, friction and colour."""
    volume, com, _ = mass_properties(shape.hulls)
    # Log-uniform up to stone or thick glass, so that heavy objects, and hence slips, are not rare.
    heaviest = np.clip(volume * _DENSEST_KG_M3, 2.0 * MASS_KG[0], MASS_KG[1])
    mass = np.exp(rng.uniform(np.log(MASS_KG[0]), np.log(heaviest)))
    spread = (0.6, 0.9) if rng.random() < 0.75 else FRICTION
    hue, saturation, value = rng.random(), rng.uniform(0.25, 0.95), rng.uniform(0.35, 0.95)
    return ObjectModel(
        name=name,
        family=family,
        vertices=shape.vertices - com,
        faces=shape.faces,
        hulls=tuple((v - com, f) for v, f in shape.hulls),
        mass_kg=float(mass),
        friction=float(rng.uniform(*spread)),
        rgba=(*_rgb(hue, saturation, value), 1.0),
    )


def _rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    sector = (np.array([5.0, 3.0, 1.0]) + 6.0 * hue) % 6.0
    rgb = value - value * saturation * np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0)
    return float(rgb[0]), float(rgb[1]), float(rgb[2])
