"""Cluttered tables as in the clutter-removal literature: `packed` (upright) and `pile` (dropped)."""

from sinew_sim.scenes.make import make_scene
from sinew_sim.scenes.packed import place_packed
from sinew_sim.scenes.pile import drop_pile
from sinew_sim.scenes.spec import SceneKind, SceneSpec, SettledScene, choose_objects, object_pool
from sinew_sim.scenes.table import WORKSPACE_HIGH, WORKSPACE_LOW, TableWorld

__all__ = [
    "WORKSPACE_HIGH",
    "WORKSPACE_LOW",
    "SceneKind",
    "SceneSpec",
    "SettledScene",
    "TableWorld",
    "choose_objects",
    "drop_pile",
    "make_scene",
    "object_pool",
    "place_packed",
]
