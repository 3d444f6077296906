"""Contact pairs on shapes whose antipodal points are known."""

import numpy as np
import pytest
import trimesh

from sinew_policies.common.errors import MeshError
from sinew_sim.floating.antipodal import (
    FRICTION_CONE,
    MAX_PAIR_WIDTH_M,
    Surface,
    join,
    pairs_at,
    sample_pairs,
    spread,
)


def _surface(mesh: trimesh.Trimesh) -> Surface:
    return Surface(np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int32))


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_box_pairs_join_opposite_faces_that_fit_the_jaw() -> None:
    sides = np.array([0.03, 0.05, 0.12])
    pairs = sample_pairs(_surface(trimesh.creation.box(sides)), 500, _rng())
    axis = np.argmax(np.abs(pairs.direction), axis=1)
    assert set(axis) == {0, 1}  # 12 cm do not fit
    assert pairs.width_m == pytest.approx(sides[axis], abs=1e-9)
    assert pairs.quality == pytest.approx(1.0)
    assert np.abs(pairs.opposite[np.arange(len(pairs)), axis]) == pytest.approx(sides[axis] / 2, abs=1e-9)


def test_sphere_pairs_are_diameters() -> None:
    pairs = sample_pairs(_surface(trimesh.creation.icosphere(4, radius=0.03)), 300, _rng())
    middle = pairs.contact + 0.5 * pairs.width_m[:, None] * pairs.direction
    assert len(pairs) >= 295
    assert np.linalg.norm(middle, axis=1).max() < 0.0035
    assert pairs.width_m == pytest.approx(0.06, abs=1e-3)


def test_every_pair_lies_in_both_friction_cones_and_in_the_jaw() -> None:
    mesh = trimesh.creation.cone(radius=0.03, height=0.09, sections=48)
    surface = _surface(mesh)
    points, normals = surface.sample(400, _rng())
    pairs = pairs_at(surface, points, normals)
    limit = np.cos(np.arctan(FRICTION_CONE))
    assert len(pairs) > 100
    own = np.einsum("ij,ij->i", -normals[pairs.source], pairs.direction)
    assert (own >= limit - 1e-9).all()
    assert (pairs.quality >= limit - 1e-9).all()
    assert (pairs.width_m <= MAX_PAIR_WIDTH_M).all()
    assert np.allclose(pairs.contact, points[pairs.source])


def test_bisector_finds_pairs_on_a_wedge_that_the_normal_alone_misses() -> None:
    # Both faces lean by 20°: along either normal the other face is 40° off, outside the cone of 26.6°.
    half = np.tan(np.deg2rad(20.0)) * 0.06
    outline = [[-half, 0.0], [half, 0.0], [0.0, 0.06]]
    wedge = trimesh.creation.extrude_triangulation(np.array(outline), np.array([[0, 1, 2]]), 0.04)
    surface = _surface(wedge)
    points, normals = surface.sample(400, _rng())
    sides = np.abs(normals[:, 0]) > 0.9
    pairs = pairs_at(surface, points[sides], normals[sides])
    assert len(pairs) > 50
    assert pairs.quality.max() == pytest.approx(np.cos(np.deg2rad(20.0)), abs=1e-6)
    assert np.abs(pairs.direction[:, 0]) == pytest.approx(1.0, abs=1e-6)


def test_tube_offers_the_wall_and_the_whole_from_one_point() -> None:
    surface = _surface(trimesh.creation.annulus(0.025, 0.03, 0.08, sections=64))
    point, normal = np.array([[0.03 * np.cos(np.pi / 64), 0.0, 0.013]]), np.array([[1.0, 0.0, 0.0]])
    rotate = np.array([[np.cos(np.pi / 64), -np.sin(np.pi / 64)], [np.sin(np.pi / 64), np.cos(np.pi / 64)]])
    point[:, :2], normal[:, :2] = point[:, :2] @ rotate.T, normal[:, :2] @ rotate.T
    widths = sorted(pairs_at(surface, point, normal).width_m)
    assert widths == pytest.approx([0.005, 0.06], abs=5e-4)


def test_spread_covers_better_than_the_first_ones() -> None:
    pairs = sample_pairs(_surface(trimesh.creation.box((0.04, 0.05, 0.06))), 600, _rng())
    chosen = spread(pairs, 40, _rng())
    assert len(set(chosen.tolist())) == 40

    def worst_gap(subset: np.ndarray) -> float:
        both = join([pairs.take(subset), pairs.take(subset).flipped()])
        code = np.concatenate([both.contact, both.opposite], axis=1)
        every = np.concatenate([pairs.contact, pairs.opposite], axis=1)
        return float(np.linalg.norm(every[:, None] - code[None], axis=2).min(axis=1).max())

    assert worst_gap(chosen) < 0.7 * worst_gap(np.arange(40))


def test_mesh_without_faces_is_refused() -> None:
    with pytest.raises(MeshError, match="0 faces"):
        Surface(np.zeros((3, 3)), np.zeros((0, 3), np.int32))
