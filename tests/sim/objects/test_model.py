import mujoco
import numpy as np
import pytest
import trimesh

from sinew_sim.objects.generator import FAMILIES, generate
from sinew_sim.objects.model import HULL_GROUP, VISUAL_GROUP, add_object, mass_properties
from sinew_sim.objects.shapes import cuboid


def test_mass_properties_of_a_cuboid() -> None:
    a, b, c = 0.04, 0.06, 0.1
    volume, com, unit = mass_properties([cuboid([0, 0, 0], [a, b, c])])
    assert volume == pytest.approx(a * b * c)
    assert com == pytest.approx([a / 2, b / 2, c / 2])
    expected = np.diag([b * b + c * c, a * a + c * c, a * a + b * b]) * volume / 12
    assert unit == pytest.approx(expected, abs=1e-15)


def test_splitting_a_body_changes_nothing() -> None:
    whole = mass_properties([cuboid([0, 0, 0], [0.1, 0.05, 0.03])])
    halves = mass_properties([cuboid([0, 0, 0], [0.04, 0.05, 0.03]), cuboid([0.04, 0, 0], [0.1, 0.05, 0.03])])
    for a, b in zip(whole, halves, strict=True):
        assert a == pytest.approx(b, abs=1e-15)


def test_inertia_of_a_mug_agrees_with_its_surface() -> None:
    obj = generate(1, 0, "mug", split="test")
    mesh = trimesh.Trimesh(obj.vertices, obj.faces, process=False)
    expected = mesh.moment_inertia * obj.mass_kg / mesh.volume
    assert obj.inertia()[1] == pytest.approx(expected, rel=0.02, abs=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_compiled_body_carries_mass_inertia_and_pose(family: str) -> None:
    obj = generate(2, 1, family, split="test")
    pose = np.array([0.5, -0.1, 0.3, np.cos(0.4), 0.0, np.sin(0.4), 0.0])
    spec = mujoco.MjSpec()
    add_object(spec, obj, "thing", pose)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    body = model.body("thing")
    assert body.mass[0] == pytest.approx(obj.mass_kg)
    assert np.sort(body.inertia) == pytest.approx(np.linalg.eigvalsh(obj.inertia()[1]), rel=1e-6)
    assert data.qpos == pytest.approx(pose)
    # MuJoCo re-centres meshes; the geom's own pose must bring every vertex back to where we put it.
    geom = model.geom("thing_visual")
    mesh = model.mesh(int(geom.dataid[0]))
    start, count = int(mesh.vertadr[0]), int(mesh.vertnum[0])
    R, t = data.geom_xmat[geom.id].reshape(3, 3), data.geom_xpos[geom.id]
    placed = model.mesh_vert[start : start + count] @ R.T + t
    R_body, t_body = data.xmat[body.id].reshape(3, 3), data.xpos[body.id]
    assert np.allclose(placed, obj.vertices @ R_body.T + t_body, atol=1e-6)


def test_groups_and_contact_dimensions() -> None:
    obj = generate(2, 1, "bowl", split="test")
    spec = mujoco.MjSpec()
    add_object(spec, obj, "bowl", [0, 0, 0, 1, 0, 0, 0])
    model = spec.compile()
    groups = model.geom_group
    assert int((groups == HULL_GROUP).sum()) == len(obj.hulls)
    assert int((groups == VISUAL_GROUP).sum()) == 1
    assert (model.geom_condim[groups == HULL_GROUP] == 4).all()
    assert (model.geom_contype[groups == VISUAL_GROUP] == 0).all()
    assert model.geom_friction[groups == HULL_GROUP][:, 0] == pytest.approx(obj.friction)


def test_visual_mesh_can_be_left_out() -> None:
    obj = generate(2, 1, "box", split="test")
    spec = mujoco.MjSpec()
    add_object(spec, obj, "box", [0, 0, 0, 1, 0, 0, 0], visual=False)
    assert spec.compile().ngeom == len(obj.hulls)
