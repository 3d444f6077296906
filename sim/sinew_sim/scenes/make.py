"""From a scene's description to its objects at rest."""

from collections.abc import Sequence

from sinew_sim.objects.model import ObjectModel
from sinew_sim.scenes.packed import place_packed
from sinew_sim.scenes.pile import drop_pile
from sinew_sim.scenes.spec import SceneSpec, SettledScene, choose_objects, object_pool


def make_scene(spec: SceneSpec, pool: Sequence[ObjectModel] | None = None) -> SettledScene:
    """Chooses objects (from `pool`, else from `object_pool(spec)`) and lets them settle.

    The same specification gives the same poses. ConfigError when they do not fit, MeshError when the
    object folder holds no usable mesh.
    """
    objects = choose_objects(spec, object_pool(spec) if pool is None else pool)
    poses = place_packed(objects, spec.seed) if spec.kind == "packed" else drop_pile(objects, spec.seed)
    return SettledScene(spec, objects, poses)
