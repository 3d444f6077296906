"""Objects with known shape and mass, shared by the tests of this folder."""

from collections.abc import Callable

import numpy as np
import pytest
import trimesh

from sinew_sim.objects.model import ObjectModel

BoxMaker = Callable[..., ObjectModel]


@pytest.fixture(scope="session")
def make_box() -> BoxMaker:
    def make(sides_m: tuple[float, float, float] = (0.04, 0.05, 0.08), mass_kg: float = 0.2) -> ObjectModel:
        mesh = trimesh.creation.box(sides_m)
        vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int32)
        return ObjectModel("box", "box", vertices, faces, ((vertices, faces),), mass_kg, 0.7, (0.8, 0.2, 0.2, 1.0))

    return make
